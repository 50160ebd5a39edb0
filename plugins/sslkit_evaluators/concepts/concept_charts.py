"""Figures of concept bottlenecks as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

DPI = 120
MOST_NAMED = 60
"""Rows or columns that are named one by one."""


def draw_weights(
    weights: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], path: Path
) -> None:
    """The weight of each concept for each class, red for and blue against it.

    Args:
        weights: by class and concept.
        rows: the classes.
        columns: the concepts, or values of them.
        path: the PNG; it is replaced.
    """
    size = (2.5 + 0.35 * min(len(columns), MOST_NAMED), 1.6 + 0.3 * min(len(rows), MOST_NAMED))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    largest = max((abs(value) for row in weights for value in row), default=0.0) or 1.0
    image = axes.imshow(weights, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
    if len(columns) <= MOST_NAMED:
        axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=8)
    if len(rows) <= MOST_NAMED:
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set(xlabel="concept", ylabel="class")
    figure.colorbar(image, label="weight")
    figure.savefig(path, format="png", dpi=DPI)


def draw_intervention(accuracies: Sequence[float], path: Path) -> None:
    """Accuracy by number of concepts that are put right, the hardest first.

    Args:
        accuracies: with none put right, with one, and so on.
        path: the PNG; it is replaced.
    """
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(len(accuracies)), accuracies, marker="o" if len(accuracies) < 40 else None)
    axes.set(xlabel="concepts put right, the hardest first", ylabel="accuracy", ylim=(-0.02, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png", dpi=DPI)
