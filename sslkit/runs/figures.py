"""Figures as PNG files: image grids and metric curves."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from PIL import Image
from torch import Tensor

from sslkit.core.passes import Pictures
from sslkit.functional.pixel_normalization import as_rgb, unnormalized
from sslkit.runtime.atomic_files import write_whole

DPI = 150
FRAME = 150
"""Milliseconds of a frame of moving pictures."""
PICTURE = 160
"""Pixels that a small picture is enlarged to, by a whole factor."""
GAP, TITLE = 6, 30
"""Pixels between pictures, and of the line of titles."""
PANEL = (4.4, 3.0)
"""Inches of a panel of curves."""
PANELS_A_ROW = 3
MARGINS = {"left": 0.75, "right": 0.3, "bottom": 0.55, "top": 0.35}
"""Inches about the axes of a panel for what stands there; to search for the least takes half of the drawing."""
BASELINES = {"untrained": "untrained", "start": "start", "raw pixels": "raw_pixels"}
"""What people call them -> what records do."""
LEVELS = ("0.35", "C3")
"""Colors of their lines."""
FEW = 30
"""Points of a curve up to which each has a mark."""
MANY = 200
"""Points of a curve from which on it is drawn faint below its running mean."""


class Curve(NamedTuple):
    """One line of a panel."""

    label: str
    steps: list[float]
    values: list[float]
    quantity: str = ""
    """What the values are, where the label says whose they are."""


class Panel(NamedTuple):
    """What stands in one pair of axes."""

    curves: list[Curve]
    levels: list[tuple[str, float]] = []  # noqa: RUF012
    """(name, value) of dashed lines from side to side: what raw pixels or the untrained network scored."""


def save_pictures(
    path: Path,
    pictures: Pictures,
    mean: Sequence[float],
    std: Sequence[float],
    show: Sequence[int] | None = None,
) -> None:
    """Write `pictures` as a titled grid, their normalization undone and the result cut to [0, 1].

    Those of clips show their frames in one row, and move in a GIF of the same name beside it.

    Args:
        path: the PNG; it is replaced as a whole, and its folder is made.
        pictures: images `[rows, columns, C, H, W]`, or clips `[rows, columns, C, T, H, W]`, on any device. One
            channel is gray; of two the first is shown, of more than three the first three.
        mean: what normalization subtracted: one value a channel.
        std: what it divided by, alike.
        show: channels that become red, green and blue. Default: the first three, or the first as gray.
    """
    pixels = _pixels(pictures.images, mean, std, show)
    if pixels.ndim > 5:
        _save_moving(path.with_suffix(".gif"), pixels)
        pixels = pixels.permute(0, 1, 2, 4, 3, 5).flatten(-2)
    grid = mosaic(pixels)
    height, width = grid.shape[0] + TITLE, grid.shape[1]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(grid.numpy(), 0, 0, origin="upper")
    for column, title in enumerate(pictures.columns):
        x = (column + 0.5) / len(pictures.columns)
        figure.text(x, 1 - 0.55 * TITLE / height, title, ha="center", va="center", fontsize=8)
    save_figure(figure, path)


def save_curves(
    path: Path, records: Sequence[Mapping[str, float | None]], lower: Collection[str] = ()
) -> None:
    """Write the curves in `records`: losses, learning rate and the headline of each evaluator over the steps.

    What raw pixels and the untrained network scored, where that was measured, are dashed lines.

    Args:
        path: the PNG; it is replaced as a whole, and its folder is made.
        records: those of `metrics.jsonl`. Each has a `step`; other keys may be missing, None or not finite.
        lower: labels of the evaluations of whose headline less is better, which the title says.
    """
    _save_panels(path, _panels(records, lower))


def save_conflict(path: Path, records: Sequence[Mapping[str, float | None]]) -> bool:
    """Write how the terms of a hybrid get on: their losses, weights, lengths of gradients and cosines between them.

    The legend of a cosine says in which share of the measured steps the two terms pulled apart, below 0.

    Args:
        path: the PNG; it is replaced as a whole, and its folder is made.
        records: those of `metrics.jsonl`, with `balance/...` where terms were balanced.

    Returns:
        Whether there was anything of the kind; if not, nothing is written.
    """
    panels = _conflict_panels(records)
    if panels:
        _save_panels(path, {title: Panel(curves) for title, curves in panels.items()})
    return bool(panels)


def _save_panels(path: Path, panels: Mapping[str, Panel]) -> None:
    rows = max(1, math.ceil(len(panels) / PANELS_A_ROW))
    columns = max(1, math.ceil(len(panels) / rows))
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), dpi=DPI)
    figure.subplots_adjust(**_margins(rows, columns))
    if not panels:
        figure.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center")
    last = max((curve.steps[-1] for panel in panels.values() for curve in panel.curves), default=0)
    for place, (title, panel) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        for curve in panel.curves:
            _plot(axes, curve)
        for (name, value), color in zip(panel.levels, LEVELS, strict=False):
            axes.axhline(value, color=color, linestyle="--", linewidth=1.2, label=f"{name} {value:.4g}")
        _label(axes, title, panel.curves, last)
    save_figure(figure, path)


def _margins(rows: int, columns: int) -> dict[str, float]:
    """`MARGINS` in the shares that matplotlib asks for: of the figure outside, of a pair of axes between two."""
    width, height = PANEL
    between = {"wspace": MARGINS["left"] + MARGINS["right"], "hspace": MARGINS["bottom"] + MARGINS["top"]}
    return {
        "left": MARGINS["left"] / (width * columns),
        "right": 1 - MARGINS["right"] / (width * columns),
        "bottom": MARGINS["bottom"] / (height * rows),
        "top": 1 - MARGINS["top"] / (height * rows),
        "wspace": between["wspace"] / (width - between["wspace"]),
        "hspace": between["hspace"] / (height - between["hspace"]),
    }


def _pixels(
    images: Tensor, mean: Sequence[float], std: Sequence[float], show: Sequence[int] | None
) -> Tensor:
    """`[rows, columns, 3, H, W]` uint8, or `[rows, columns, 3, T, H, W]`."""
    axes = images.ndim - 3
    pixels = unnormalized(images.detach().float().cpu(), mean, std, axes).nan_to_num(0)
    # frames before channels, for a moment
    clips = axes > 2
    colors = as_rgb(pixels.transpose(2, 3), show).transpose(2, 3) if clips else as_rgb(pixels, show)
    return (colors * 255).round().to(torch.uint8)


def _save_moving(path: Path, pixels: Tensor) -> None:
    """Clips `[rows, columns, 3, T, H, W]` uint8 as a GIF that repeats, `FRAME` milliseconds a frame."""
    first, *others = [Image.fromarray(mosaic(frame).numpy()) for frame in pixels.unbind(3)]
    settings = {"save_all": True, "append_images": others, "duration": FRAME, "loop": 0}
    write_whole(path, lambda file: first.save(file, format="GIF", **settings))


def mosaic(pixels: Tensor) -> Tensor:
    """Pictures `[rows, columns, 3, H, W]` uint8 on white, `[height, width, 3]`, each pixel a square of whole pixels."""
    factor = max(1, round(PICTURE / pixels.shape[-1]))
    large = pixels.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    before = GAP // 2
    framed = F.pad(large, (before, GAP - before, before, GAP - before), value=255)
    rows, columns, channels, height, width = framed.shape
    return framed.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)


def _panels(records: Sequence[Mapping[str, float | None]], lower: Collection[str]) -> dict[str, Panel]:
    """The panels by title; those without a point are left out."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    terms = [key for key in keys if key.startswith("loss/")]
    panels = {"loss": ["loss", *(terms if len(terms) > 1 else [])], "learning rate": ["lr"]}
    levels: dict[str, list[tuple[str, float]]] = {}
    for evaluator in dict.fromkeys(key.split("/")[1] for key in keys if key.startswith("eval/")):
        title = f"eval/{evaluator}" if evaluator in panels else evaluator
        title += " (lower is better)" * (evaluator in lower)
        panels[title] = _headlines([key for key in keys if key.startswith(f"eval/{evaluator}/")])
        levels[title] = list(_baselines(records, panels[title][0]))
    drawn = {
        title: [_curve(records, key) for key in wanted if key in keys] for title, wanted in panels.items()
    }
    full = {title: [curve for curve in curves if curve.steps] for title, curves in drawn.items()}
    return {title: Panel(curves, levels.get(title, [])) for title, curves in full.items() if curves}


def _baselines(records: Sequence[Mapping[str, float | None]], key: str) -> Iterator[tuple[str, float]]:
    """Of the headline `eval/NAME/METRIC`, where they were measured and are finite."""
    for name, kind in BASELINES.items():
        values = [record.get(key.replace("eval", f"baseline/{kind}", 1)) for record in records]
        finite = [float(value) for value in values if value is not None and math.isfinite(value)]
        if finite:
            yield name, finite[-1]


_TITLES = {
    "loss": "loss of each term",
    "weight": "balancer's weight of each term",
    "gradient norm": "gradient norm of each term",
    "cosine": "cosine of gradients of two terms",
}
"""Of panels; a term's own `weight` is no part of the balancer's."""


def _conflict_panels(records: Sequence[Mapping[str, float | None]]) -> dict[str, list[Curve]]:
    """The curves of each panel by title; none where terms were not balanced."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    if not any(key.startswith("balance/") for key in keys):
        return {}
    wanted = {"loss": [key for key in keys if key.startswith("loss/")]}
    for title in ("weight", "gradient norm", "cosine"):
        ending = f"/{title.replace(' ', '_')}"
        wanted[title] = [key for key in keys if key.startswith("balance/") and key.endswith(ending)]
    drawn = {title: [_of_term(records, key, title) for key in selected] for title, selected in wanted.items()}
    kept = {title: [curve for curve in curves if curve.steps] for title, curves in drawn.items()}
    kept["cosine"] = [_with_conflict(curve) for curve in kept["cosine"]]
    return {_TITLES[title]: curves for title, curves in kept.items() if curves}


def _of_term(records: Sequence[Mapping[str, float | None]], key: str, quantity: str) -> Curve:
    """The curve of `loss/TERM` or `balance/TERM/METRIC`, by the name of the term, which may have a slash in it."""
    name = key.partition("/")[2]
    label = name if key.startswith("loss/") else name.rpartition("/")[0]
    return _curve(records, key)._replace(label=label, quantity=quantity)


def _with_conflict(curve: Curve) -> Curve:
    below = sum(value < 0 for value in curve.values) / len(curve.values)
    return curve._replace(label=f"{curve.label}, in conflict {below:.0%}, last")


def _headlines(keys: list[str]) -> list[str]:
    """Those of one evaluator's `eval/NAME/METRIC` keys that are accuracies, or the first where none is."""
    return [key for key in keys if key.endswith("accuracy")] or keys[:1]


def _curve(records: Sequence[Mapping[str, float | None]], key: str) -> Curve:
    points = [(record["step"], record.get(key)) for record in records]
    kept = [(float(s), float(v)) for s, v in points if s is not None and v is not None and math.isfinite(v)]
    label = "learning rate" if key == "lr" else key.rsplit("/", 1)[-1].replace("_", " ")
    return Curve(label, [step for step, _ in kept], [value for _, value in kept])


def _plot(axes: Axes, curve: Curve) -> None:
    """A line with its last value in the legend, and a mark at each point where there are few."""
    many, label = len(curve.steps) > MANY, f"{curve.label} {curve.values[-1]:.4g}"
    marker = "o" if len(curve.steps) <= FEW else None
    (line,) = axes.plot(curve.steps, curve.values, marker=marker, markersize=4, linewidth=1.5, label=label)
    if many:
        axes.plot(*_running_mean(curve), color=line.get_color(), linewidth=1.5, label=label)
        line.set(alpha=0.3, linewidth=1, label=None)


def _label(axes: Axes, title: str, curves: Sequence[Curve], last: float) -> None:
    """Titles, legend and axes; `last` is the last step of any panel, so that all show the same stretch."""
    axes.set_title(title, fontsize=10)
    axes.set(
        xlabel="step",
        ylabel=curves[0].quantity or curves[0].label,
        xlim=(-0.02 * last - 0.5, 1.02 * last + 0.5),
    )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _running_mean(curve: Curve) -> tuple[list[float], list[float]]:
    """Means over a fiftieth of the points, each at the mean of its steps."""
    kernel = np.full(len(curve.values) // 50, 1 / (len(curve.values) // 50))
    steps, values = (np.convolve(x, kernel, mode="valid").tolist() for x in (curve.steps, curve.values))
    return steps, values


def save_figure(figure: Figure, path: Path) -> None:
    """Write `figure` as a PNG; a reader of `path` sees the old file or the new one."""
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=DPI))
