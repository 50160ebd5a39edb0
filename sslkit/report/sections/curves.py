"""Training curves of one run, or of several over each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sslkit.report.page.charts import Line, chart
from sslkit.report.page.html import Html, grid, note
from sslkit.report.run_data import BASELINES, RunData

EXTRA = ("gradient_norm", "images_per_s")
"""Further recorded quantities that have a panel."""
CONFLICT = {
    "weight": "Balancer's weight of each term",
    "gradient_norm": "Gradient norm of each term",
    "cosine": "Cosine of gradients",
}


def training(runs: Sequence[RunData]) -> Html | None:
    """Losses, learning rate and metrics; None where nothing was recorded."""
    panels = [panel for title, keys in _panels(runs) if (panel := _panel(title, runs, keys))]
    return grid(panels) if panels else None


def _panels(runs: Sequence[RunData]) -> Iterator[tuple[str, Sequence[str]]]:
    """(title, keys). Several runs share no panel of terms: each term has one."""
    terms = _keys(runs, "loss/")
    yield "Loss", ("loss",)
    if len(terms) > 1:
        yield from (
            [("Loss of each term", terms)]
            if len(runs) == 1
            else [(f"Loss of {_short(t)}", [t]) for t in terms]
        )
    yield "Learning rate", ("lr",)
    for label in dict.fromkeys(key.split("/")[1] for key in _keys(runs, "eval/")):
        every = _keys(runs, f"eval/{label}/")
        shown = [k for k in every if k.endswith("/accuracy")] or every[:1]
        yield f"{label}: {_short(shown[0])}{_direction(runs, label)}", shown
    for key in EXTRA:
        yield {"images_per_s": "Images a second"}.get(key, key.replace("_", " ").capitalize()), (key,)


def _direction(runs: Sequence[RunData], label: str) -> str:
    """The direction of the headline, where lower is better."""
    scores = [run.evaluations[label] for run in runs if label in run.evaluations]
    return " (lower is better)" * any(score.headline_better == "lower" for score in scores)


def _keys(runs: Sequence[RunData], start: str) -> list[str]:
    return list(dict.fromkeys(key for run in runs for key in run.keys(lambda k: k.startswith(start))))


def _short(key: str) -> str:
    return key.rpartition("/")[2].replace("_", " ")


def _panel(title: str, runs: Sequence[RunData], keys: Sequence[str]) -> Html | None:
    """None without a point; a metric that was measured once is in the tables."""
    lines = []
    for place, run in enumerate(runs):
        for i, key in enumerate(keys):
            xs, ys = run.curve(key)
            if xs and (len(xs) > 1 or not key.startswith("eval/")):
                named = run.name if len(runs) > 1 else _short(key)
                lines.append(Line(named, xs, ys, place if len(runs) > 1 else i))
    return chart(title, [*lines, *_levels(runs, keys[0], lines)]) if lines else None


def _levels(runs: Sequence[RunData], key: str, lines: Sequence[Line]) -> Iterator[Line]:
    """What untrained networks and raw pixels scored by the metric `key`; equal values of several runs stand once."""
    of, _, rest = key.partition("/")
    label, _, metric = rest.partition("/")
    if of != "eval":
        return
    ends = [min(x for line in lines for x in line.xs), max(x for line in lines for x in line.xs)]
    color = max(line.color for line in lines) + 1
    for name, kind in reversed(BASELINES.items()):
        scored = {run.name: value for run in runs if (value := run.baseline(kind, label, metric)) is not None}
        alike = len(set(scored.values())) == 1
        for run, value in list(scored.items())[: 1 if alike else None]:
            yield Line(name if alike else f"{run}, {name}", ends, [value, value], color, level=True)
            color += 1


def conflict(run: RunData) -> Html | None:
    """Gradient conflict between the terms of a hybrid; None where it was not measured."""
    recorded = run.keys(lambda key: key.startswith("balance/"))
    panels = []
    for ending, title in CONFLICT.items():
        keys = [key for key in recorded if key.endswith(f"/{ending}")]
        lines = [
            Line(key.split("/", 1)[1].rpartition("/")[0], *run.curve(key), i) for i, key in enumerate(keys)
        ]
        lines = [line for line in lines if line.xs]
        if lines:
            panels.append(chart(title, lines))
    if not panels:
        return None
    return Html(grid(panels) + note(" ".join(_pulls(run, recorded))))


def _pulls(run: RunData, keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        if not key.endswith("/cosine"):
            continue
        _, ys = run.curve(key)
        if ys:
            below = sum(y < 0 for y in ys) / len(ys)
            pair = key.split("/", 1)[1].rpartition("/")[0]
            yield f"{pair}: gradients pulled apart (cosine below 0) in {below:.0%} of {len(ys)} measured steps."
