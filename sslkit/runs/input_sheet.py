"""A sheet of what arrives in the network: each image, its crops, and histograms of their values."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sslkit.functional.pixel_normalization import as_rgb
from sslkit.runs.figures import DPI, GAP, PICTURE, TITLE, mosaic, save_figure

NAME = 26
"""Pixels of the line below a row."""
HISTOGRAM, MARGIN = 240, 24
"""Pixels across a histogram, and around it."""
BINS = 64
MOST_VALUES = 1 << 18
"""Values of a channel that a histogram is made of; larger images are read in steps."""
COLORS = {1: ("0.25",), 3: ("tab:red", "tab:green", "tab:blue")}
"""Of the channels; other numbers have matplotlib's."""
GLYPH = 7
"""Pixels across a letter of a name, nearly."""


class ShownCrop(NamedTuple):
    """One crop of an image."""

    title: str
    normalized: Tensor
    """`[C, S, S]`, as the network reads it."""
    pixels: Tensor
    """The same in [0, 1]."""
    show: tuple[int, int, int] | None = None
    """Channels that are drawn as red, green and blue, of the original too where it is the first crop."""


class SheetRow(NamedTuple):
    """One image."""

    name: str
    original: Tensor
    """`[C, H, W]` in [0, 1]."""
    crops: Sequence[ShownCrop]


def save_sheet(path: Path, rows: Sequence[SheetRow]) -> None:
    """Write `rows` below each other: original, crops, and histograms of both, with the name beneath.

    One channel is gray; of two the first is shown, of more than three the first three, or those of `show`.
    Histograms are of all channels.

    Args:
        path: the PNG; it is replaced as a whole, and its folder is made.
        rows: images, each with as many crops.
    """
    side = max(_shown_side(crop.pixels) for crop in rows[0].crops)
    strips = [_strip(row, side) for row in rows]
    height, across = TITLE + sum(len(strip) for strip in strips), strips[0].shape[1]
    width = across + 2 * (HISTOGRAM + MARGIN)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(torch.cat(strips).numpy(), 0, 0, origin="upper")
    for column, title in enumerate(["original", *(crop.title for crop in rows[0].crops)]):
        x = (column + 0.5) * across / (1 + len(rows[0].crops)) / width
        figure.text(x, 1 - 0.55 * TITLE / height, title, ha="center", va="center", fontsize=8)
    for number, row in enumerate(rows):
        top = TITLE + sum(len(strip) for strip in strips[:number])
        below = (height - top - len(strips[number])) / height
        label = _fitting(row.name, across // GLYPH)
        figure.text(
            GAP / 2 / width, below + 0.5 * NAME / height, label, va="center", fontsize=7, parse_math=False
        )
        for place, (title, images, span) in enumerate(_histograms(row)):
            left = across + MARGIN / 2 + place * (HISTOGRAM + MARGIN)
            frame = (left / width, below + NAME / height, HISTOGRAM / width, (side - MARGIN) / height)
            _draw(figure.add_axes(frame), title, images, span)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # names may be in any script; boxes stand for it
        save_figure(figure, path)


def _shown_side(image: Tensor) -> int:
    """Enlarged by a whole factor where it is small."""
    return image.shape[-1] * max(1, round(PICTURE / image.shape[-1]))


def _strip(row: SheetRow, side: int) -> Tensor:
    """`[side + gap + name, width, 3]` uint8."""
    originals = _cell(row.original, side, row.crops[0].show)
    cells = [originals, *(_cell(crop.pixels, side, crop.show) for crop in row.crops)]
    return F.pad(mosaic(torch.stack(cells)[None]), (0, 0, 0, 0, 0, NAME), value=255)


def _cell(image: Tensor, side: int, show: Sequence[int] | None) -> Tensor:
    """`[C, H, W]` in [0, 1] as `[3, side, side]` uint8: made smaller where it is too large, on white."""
    pixels = as_rgb(image.float().cpu(), show).nan_to_num(0).clamp(0, 1)
    height, width = pixels.shape[-2:]
    factor = side / max(height, width)
    if factor >= 1:
        pixels = pixels.repeat_interleave(int(factor), -1).repeat_interleave(int(factor), -2)
    else:
        target = (max(1, round(height * factor)), max(1, round(width * factor)))
        pixels = F.interpolate(pixels[None], target, mode="bilinear", antialias=True)[0].clamp(0, 1)
    high, wide = (side - length for length in pixels.shape[-2:])
    around = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
    return F.pad((pixels * 255).round().to(torch.uint8), around, value=255)


def _histograms(row: SheetRow) -> list[tuple[str, list[Tensor], tuple[float, ...]]]:
    """(title, images, what the axis shows at least) of each."""
    normalized = [crop.normalized.float().cpu() for crop in row.crops]
    values = torch.cat([crop.flatten() for crop in normalized])
    read = f"network: mean {values.mean():.2f}, std {values.std(correction=0):.2f}"
    return [("original", [row.original.float().cpu()], (0.0, 1.0)), (read, normalized, ())]


def _draw(axes: Axes, title: str, images: Sequence[Tensor], span: tuple[float, ...]) -> None:
    """Of each channel the density of its values in all `images`."""
    channels = [
        np.concatenate([_some(image[channel]) for image in images]) for channel in range(len(images[0]))
    ]
    low, high = min(x.min() for x in channels), max(x.max() for x in channels)
    left, right = min(low, *span, low), max(high, *span, high)
    edges = np.linspace(left, right if right > left else left + 1, BINS + 1)
    for number, values in enumerate(channels):
        color = COLORS.get(len(channels), [f"C{i % 10}" for i in range(len(channels))])[number]
        axes.hist(values, edges.tolist(), density=True, histtype="step", color=color, linewidth=1)
    axes.set_title(f"{title}\n{low:.3g} to {high:.3g}", fontsize=6, pad=2)
    axes.set_yticks([])
    axes.tick_params(labelsize=6, length=2, pad=1)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _some(plane: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    values = plane.flatten()
    array: np.ndarray[tuple[int], np.dtype[np.float32]] = values[:: 1 + len(values) // MOST_VALUES].numpy()
    return array


def _fitting(name: str, letters: int) -> str:
    """The end of a name that is too long, without what is no text."""
    text = name.encode(errors="backslashreplace").decode()
    return text if len(text) <= letters else f"…{text[1 - letters :]}"
