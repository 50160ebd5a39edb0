"""A run and its result as HTML for notebooks: small tables and a curve, without style sheets of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sslkit.report.page.charts import number
from sslkit.report.page.html import Child, Html, join, tag
from sslkit.runs.figures import BASELINES
from sslkit.runs.python_parts import python_parts
from sslkit.specs.run import RunSpec

WIDTH, HEIGHT = 420, 120
"""Of the curve, in pixels."""
EDGE = 4
"""Pixels around it."""
POINTS = 400
"""Of a curve at most; of more, means of neighbors are drawn."""
LEFT = "text-align:left"
"""Style of cells, which notebooks put at the right edge."""


def run_html(spec: RunSpec) -> Html:
    """The parts of a run: one row each, as its spec has them."""
    rows = [(name, tag("code", text)) for name, text in _parts(spec)]
    only = ", ".join(python_parts(spec))
    remark = f"resumed in Python alone, as it has {only} from there" if only else ""
    return join(
        [tag("strong", f"Run {spec.name}"), _table((), rows), tag("small", remark) if remark else None]
    )


def result_html(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Html:
    """What a run gave: its state, its scores beside their baselines, and the curve of its loss.

    Args:
        summary: what `summary.json` holds.
        records: those of `metrics.jsonl`.
    """
    state = "finished" if summary.get("finished") else f"stopped by {summary.get('stopped_by')}"
    steps = f"{summary.get('step', 0):,} steps, {summary.get('epoch', 0):.4g} epochs"
    head = f"Run {summary.get('name')}: {state}, {steps}, {summary.get('seconds', 0):,.1f} s"
    return join([tag("strong", head), _scores(summary), _curve(records), _place(summary)])


def _parts(spec: RunSpec) -> Iterator[tuple[str, str]]:
    yield "data", spec.data.summary()
    for name, view in spec.views.items():
        yield f"views.{name}", view.summary()
    yield "backbone", spec.backbone.summary()
    for name, net in spec.nets.items():
        yield f"nets.{name}", net.summary()
    for name, term in spec.terms.items():
        yield ("objective" if len(spec.terms) == 1 else f"objectives.{name}"), term.summary()
    yield "optimizer", spec.optimizer.summary()
    length = f"{spec.epochs:,} epochs" if spec.epochs else f"{spec.steps:,} steps"
    yield "length", f"{length} of batches of {spec.batch_size:,}"
    for evaluator in spec.evaluate:
        yield f"evaluate.{evaluator.label}", evaluator.summary()
    yield "folder", str(spec.run_dir)


def _scores(summary: Mapping[str, Any]) -> Html | None:
    """The last and the best value of every metric of evaluations; None without any."""
    metrics = {key: value for key, value in summary.get("metrics", {}).items() if key.startswith("eval/")}
    baselines, best = summary.get("baselines", {}), summary.get("best", {})
    kinds = {
        name: kind
        for name, kind in BASELINES.items()
        if any(key.startswith(f"baseline/{kind}/") for key in baselines)
    }
    rows = []
    for key, value in metrics.items():
        top = best.get(key)
        row: list[Child] = [key.removeprefix("eval/"), _value(value)]
        row.append("" if top is None else f"{_value(top['value'])} at {top['step']:,}")
        row += [_value(baselines.get(key.replace("eval", f"baseline/{kind}", 1))) for kind in kinds.values()]
        rows.append(row)
    return _table(("score", "last", "best", *kinds), rows) if rows else None


def _value(value: float | None) -> str:
    return "" if value is None else number(float(value))


def _curve(records: Sequence[Mapping[str, Any]]) -> Html | None:
    """The loss by step; None of fewer than two records."""
    points = [(float(r["step"]), float(r["loss"])) for r in records if r.get("loss") is not None]
    points = [point for point in points if abs(point[1]) < float("inf")]
    if len(points) < 2:
        return None
    xs, ys = zip(*_thinned(points), strict=True)
    across, down = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    places = [
        (
            EDGE + (x - min(xs)) / across * (WIDTH - 2 * EDGE),
            EDGE + (max(ys) - y) / down * (HEIGHT - 2 * EDGE),
        )
        for x, y in zip(xs, ys, strict=True)
    ]
    line = tag(
        "polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), fill="none", stroke="currentColor"
    )
    text = f"loss from {number(points[0][1])} to {number(points[-1][1])}"
    box = f"0 0 {WIDTH} {HEIGHT}"
    picture = tag("svg", line, viewBox=box, width=WIDTH, height=HEIGHT, role="img", aria_label=text)
    return tag("div", picture, tag("br"), tag("small", text))


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    step = -(-len(points) // POINTS)
    parts = [points[i : i + step] for i in range(0, len(points), step)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def _place(summary: Mapping[str, Any]) -> Html:
    return tag("div", tag("small", "in ", tag("code", str(summary.get("paths", {}).get("run", "")))))


def _table(headings: Sequence[str], rows: Sequence[Sequence[Child]]) -> Html:
    """A table whose cells stand at the left edge."""
    head = tag("thead", tag("tr", (tag("th", name, style=LEFT) for name in headings))) if headings else None
    body = [tag("tr", (tag("td", cell, style=LEFT) for cell in row)) for row in rows]
    return tag("table", head, tag("tbody", body))
