"""Figures that objectives and evaluators left in the run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sslkit.report.page.embedded_images import picture_of_run
from sslkit.report.page.html import Html, grid, tag
from sslkit.report.run_data import RunData
from sslkit.report.sections.structure import pictures
from sslkit.train.pictures import FIGURES

CURVES = frozenset({"curves", "conflict"})
"""Figures of what the page draws itself."""


def reconstructions(runs: Mapping[str, RunData]) -> Html | None:
    """What objectives show of held-out images, of all runs side by side."""
    shown = [
        figure for name, run in runs.items() for figure in _objectives(run, name if len(runs) > 1 else "")
    ]
    return grid(shown, wide=True) if shown else None


def _objectives(run: RunData, name: str) -> Iterator[Html]:
    taken = {run.run_dir / file for e in run.evaluations.values() for file in e.figures.values()}
    for path in sorted((run.run_dir / FIGURES).glob("*.png")):
        if path in taken or path.stem in CURVES or path.name.startswith("."):  # half-written
            continue
        title = path.stem.replace("-", " ").replace("_", " ").capitalize()
        image = picture_of_run(
            run.run_dir, path, f"{title} of held-out images{f' by {name}' if name else ''}"
        )
        if image is not None:
            yield tag("figure", tag("figcaption", f"{name}: {title}" if name else title), image)


def others(run: RunData) -> Html | None:
    """Figures of evaluators that have no section of their own."""
    shown = [
        tag("figure", tag("figcaption", evaluation.title), image)
        for evaluation in run.evaluations.values()
        if not evaluation.protocol.startswith("attention@")
        for image in pictures(run, evaluation)
    ]
    return grid(shown, wide=True) if shown else None
