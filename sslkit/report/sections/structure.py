"""Sections on the geometry of features and on attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from sslkit.report.page.charts import Line, chart
from sslkit.report.page.embedded_images import picture_of_run
from sslkit.report.page.html import Html, grid, table, tag
from sslkit.report.run_data import RunData, finite
from sslkit.report.sections.scores import say
from sslkit.runs.evaluations import Evaluation

UNITS = {
    "head_divergence": "Jensen-Shannon, nats",
    "head_cosine": "1 - cosine",
    "entropy": "nats",
    "distance": "patches",
    "class_entropy": "nats",
}
DRAWN = frozenset({("geometry", "spectrum"), ("attention", "layers")})
"""Figures that are drawn anew from tables, in colors of the page."""


def of_protocol(run: RunData, protocol: str) -> list[Evaluation]:
    """The evaluations by `protocol`, whatever its version."""
    return [e for e in run.evaluations.values() if e.protocol.startswith(f"{protocol}@") and not e.variant]


def geometry(runs: Mapping[str, RunData]) -> Html | None:
    """Numbers of every run side by side, and spectra over each other."""
    by_run = {name: of_protocol(run, "geometry") for name, run in runs.items()}
    measured = {name: evaluations[0] for name, evaluations in by_run.items() if evaluations}
    if not measured:
        return None
    metrics = dict.fromkeys(metric for e in measured.values() for metric in e.metrics)
    rows = ([m.replace("_", " "), *(_cell(e, m) for e in measured.values())] for m in metrics)
    heading = list(measured) if len(runs) > 1 else ["Value"]
    numbers = table("Geometry of the features", ["Metric", *heading], rows)
    return Html(tag("div", numbers, grid(_spectra(measured)), class_="beside"))


def _cell(evaluation: Evaluation, metric: str) -> str:
    return say(metric, finite(evaluation.metrics[metric])) if metric in evaluation.metrics else ""


def _spectra(measured: Mapping[str, Evaluation]) -> Iterator[Html]:
    """Deviations along principal axes, and the share of variance that the first ones hold."""
    spectra = {name: _above_noise(e.tables.get("spectrum")) for name, e in measured.items()}
    full = {name: values for name, values in spectra.items() if values}
    if not full:
        return
    lines = [
        Line(name if len(measured) > 1 else "standard deviation", range(1, len(v) + 1), v, i)
        for i, (name, v) in enumerate(full.items())
    ]
    yield chart(
        "Spectrum: deviation along each axis", lines, "principal axis", log=True, legend=len(measured) > 1
    )
    held = [
        line._replace(name=line.name if len(measured) > 1 else "share", ys=_held(line.ys)) for line in lines
    ]
    yield chart("Variance held by the first axes", held, "principal axes", legend=len(measured) > 1)


def _above_noise(values: Sequence[object] | None) -> list[float]:
    deviations = [v for v in map(finite, values or ()) if v is not None]
    return [v for v in deviations if v > 1e-6 * max(deviations)]


def _held(deviations: Sequence[float]) -> list[float]:
    total = sum(d * d for d in deviations)
    return [part / total for part in accumulate(d * d for d in deviations)]


def attention(run: RunData) -> Html | None:
    """Every head of every block, and what heads look at."""
    evaluations = of_protocol(run, "attention")
    if not evaluations:
        return None
    panels = [
        panel
        for name, unit in UNITS.items()
        if (panel := _heads(name, unit, evaluations[0].tables.get(name)))
    ]
    maps = [
        tag("figure", image, tag("figcaption", "What each head of the last block looks at"))
        for image in pictures(run, evaluations[0])
    ]
    return Html(grid(panels) + grid(maps, wide=True))


def _heads(name: str, unit: str, rows: Sequence[Sequence[float]] | None) -> Html | None:
    if not rows:
        return None
    places = [(float(block), value) for block, heads in enumerate(rows) for value in heads]
    means = [sum(heads) / len(heads) for heads in rows]
    dots = Line("heads", [x for x, _ in places], [y for _, y in places], 0, dots=True)
    line = Line("mean over heads, last block", [float(i) for i in range(len(rows))], means, 1)
    return chart(f"{name.replace('_', ' ').capitalize()} ({unit})", [dots, line], "block")


def pictures(run: RunData, evaluation: Evaluation) -> list[Html]:
    """The figures of an evaluator that are not drawn anew."""
    protocol = evaluation.protocol.partition("@")[0]
    files = {n: f for n, f in evaluation.figures.items() if (protocol, n) not in DRAWN}
    images = (
        picture_of_run(run.run_dir, file, f"{evaluation.label}: {name}") for name, file in files.items()
    )
    return [image for image in images if image is not None]
