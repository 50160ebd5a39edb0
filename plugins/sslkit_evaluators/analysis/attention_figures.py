"""Figures of geometry and attention as PNG files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from sslkit.functional.pixel_normalization import as_rgb, unnormalized

DPI = 150
PANEL = (4.4, 3.0)
"""Inches."""
PANELS_A_ROW = 3
PICTURE = 1.1
"""Inches of a map."""
MOST_HEADS = 8
"""Heads whose maps are drawn one by one; of more, the first."""
UNITS = {
    "head_divergence": "Jensen-Shannon (nats)",
    "head_cosine": "1 - cosine",
    "entropy": "nats",
    "distance": "patches",
    "class_entropy": "nats",
}


class Maps(NamedTuple):
    """Images and what the last block looks at in them."""

    images: Tensor
    """`[B, C, S, S]`, normalized."""
    maps: Tensor
    """`[B, H, rows, columns]`."""
    mean: tuple[float, ...]
    """What normalization subtracted."""
    std: tuple[float, ...]
    """What it divided by."""
    show: tuple[int, int, int] | None = None
    """Channels that are drawn as red, green and blue."""


def draw_spectrum(deviations: Sequence[float], metrics: Mapping[str, float], path: Path) -> None:
    """The deviation along each principal axis, and the share of the variance that the first axes hold.

    Args:
        deviations: the largest first.
        metrics: those of `geometry@1`; the ranks among them are marked.
        path: the PNG; it is replaced.
    """
    figure = Figure(figsize=(2 * PANEL[0], PANEL[1]), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    axes = range(1, len(deviations) + 1)
    shown = [(i, d) for i, d in zip(axes, deviations, strict=True) if d > 1e-9 * max(deviations)]
    left.plot([i for i, _ in shown], [d for _, d in shown], marker="." if len(shown) < 40 else None)
    left.set_yscale("log" if shown else "linear")
    _label(left, "spectrum of the features", "principal axis", "standard deviation")
    total = sum(d * d for d in deviations) or 1.0
    right.plot(list(axes), [share / total for share in accumulate(d * d for d in deviations)], color="C0")
    for i, name in enumerate(("participation_ratio", "effective_rank", "rankme"), start=1):
        label = f"{name.replace('_', ' ')} {metrics[name]:.3g}"
        right.axvline(metrics[name], color=f"C{i}", linestyle="--", linewidth=1, label=label)
    right.set_ylim(0, 1.02)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    _label(right, "variance held by the first axes", "principal axes", "share")
    figure.savefig(path, format="png", dpi=DPI)


def draw_layers(tables: Mapping[str, Sequence[Sequence[float]]], path: Path) -> None:
    """A panel for each table `[blocks][heads]`: a dot for each head, a line through the means.

    Args:
        tables: by name.
        path: the PNG; it is replaced.
    """
    columns = min(PANELS_A_ROW, len(tables))
    rows = math.ceil(len(tables) / columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), dpi=DPI, layout="constrained")
    for place, (name, table) in enumerate(tables.items(), start=1):
        panel = figure.add_subplot(rows, columns, place)
        for block, heads in enumerate(table):
            panel.plot([block] * len(heads), list(heads), ".", color="C0", alpha=0.5)
        panel.plot(range(len(table)), [sum(heads) / len(heads) for heads in table], color="C1", label="mean")
        panel.legend(frameon=False, fontsize=8)
        _label(panel, name.replace("_", " "), "block", UNITS[name])
    figure.savefig(path, format="png", dpi=DPI)


def draw_maps(attention: Maps, path: Path) -> None:
    """A row for each image: itself, the mean over heads and the first heads, each map over its own range.

    Args:
        attention: images and maps.
        path: the PNG; it is replaced.
    """
    heads = min(attention.maps.shape[1], MOST_HEADS)
    titles = ["image", "mean", *(f"head {i}" for i in range(heads))]
    size = (PICTURE * len(titles), PICTURE * len(attention.images) + 0.25)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(len(attention.images), len(titles), squeeze=False)
    for row, image, maps in zip(grid, _pixels(attention), attention.maps, strict=True):
        row[0].imshow(image.numpy(), interpolation="nearest")
        for panel, values in zip(row[1:], [maps.mean(0), *maps[:heads]], strict=True):
            panel.imshow(values.numpy(), cmap="viridis", interpolation="nearest")
    for panel, title in zip(grid[0], titles, strict=True):
        panel.set_title(title, fontsize=8)
    for panel in grid.flat:
        panel.set_axis_off()
    figure.savefig(path, format="png", dpi=DPI)


def _pixels(attention: Maps) -> Tensor:
    """`[B, S, S, 3]` in [0, 1]."""
    return as_rgb(unnormalized(attention.images, attention.mean, attention.std), attention.show).movedim(
        1, -1
    )


def _label(panel: Axes, title: str, x: str, y: str) -> None:
    panel.set_title(title, fontsize=10)
    panel.set(xlabel=x, ylabel=y)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
