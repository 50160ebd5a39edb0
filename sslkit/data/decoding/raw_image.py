"""Pixels as a file holds them, and the channels that a source makes of them. C channels, H x W pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import DataError

Pixels = NDArray[np.generic]
"""`[C, H, W]` of any numeric type, in the machine's order of bytes."""
Alpha = Literal["drop", "composite", "channel"]
LUMA = (0.299, 0.587, 0.114)
"""Weights of ITU-R 601, which PIL takes for gray too."""
SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap height and width."""
WHITE = 1.0
"""What transparent pixels are laid over, as a share of full scale."""


class ChannelsError(DataError):
    """An image has other channels than the source asks for; all of its kind have."""


class Raw(NamedTuple):
    """An image as its file has it."""

    pixels: Pixels
    """Every plane that was read: the samples of a pixel, page by page."""
    colors: int
    """Samples that are gray (1) or red, green and blue (3); 0 where the file says nothing of what its bands are."""
    alpha: int | None = None
    """Place of the alpha among the samples."""
    premultiplied: bool = False
    """Whether colors are weighted by alpha already."""
    samples: int = 0
    """Samples of a pixel on a page; 0 stands for as many as there are planes."""
    pages: int = 1
    """Pages of the file; those past the first need not be in `pixels`."""
    high: float | None = None
    """What stands for white, where that is less than the type's highest value: of 12 bits 4095."""
    inverted: bool = False
    """Whether low values are bright."""
    names: tuple[str, ...] = ()
    """Of the planes, where the file has them."""

    @property
    def planes(self) -> int:
        """Of the whole file."""
        return self.pages * (self.samples or len(self.pixels))


class Wanted(NamedTuple):
    """The channels that a source asks for."""

    channels: int
    convert: bool = True
    """Bring gray to color and color to gray; otherwise they are errors."""
    bands: tuple[int | str, ...] = ()
    """These planes, by place or name; empty: those that `channels` says."""
    alpha: Alpha = "drop"

    @property
    def whole(self) -> bool:
        """Whether planes beyond color and alpha of the first page are needed."""
        return bool(self.bands) or self.channels not in (1, 3)

    @property
    def plain(self) -> bool:
        """Whether gray or color is all that is asked for."""
        return not self.whole and self.alpha == "drop"


def by_count(pixels: Pixels) -> Raw:
    """Gray or color, with alpha where there is one sample more."""
    count = len(pixels)
    colors = {1: 1, 2: 1, 3: 3, 4: 3}.get(count, 0)
    return Raw(pixels, colors, colors if count in (2, 4) else None)


def select(raw: Raw, wanted: Wanted, name: str) -> Pixels:
    """The channels of `raw` that are `wanted`, `[channels, H, W]` of the file's type.

    Raises:
        ChannelsError: it has others.
    """
    if wanted.bands:
        return raw.pixels[[_place(band, raw, name) for band in wanted.bands]]
    samples = raw.samples or len(raw.pixels)
    if wanted.alpha == "channel":
        return np.concatenate([_colors(raw, wanted.channels - 1, wanted, name), _alpha(raw)])
    if wanted.alpha == "composite" and raw.alpha is not None:
        raw = _composite(raw)
    elif wanted.channels in (samples, len(raw.pixels)):
        return raw.pixels[: wanted.channels]
    return _colors(raw, wanted.channels, wanted, name)


def unread(raw: Raw, wanted: Wanted) -> str:
    """What of a file `wanted` leaves out, with the field that reads it; empty where there is nothing."""
    if wanted.bands or (wanted.whole and wanted.channels >= raw.planes):
        return ""
    samples = raw.samples or len(raw.pixels)
    if raw.pages > 1:
        return (
            f"has {raw.pages} pages, of which the first is read; `bands: [0, 1, ..]` reads them as channels, with "
            "`channels` as many"
        )
    if raw.alpha is not None and samples == raw.colors + 1:
        return "" if wanted.alpha != "drop" else _of_alpha(samples)
    if samples > max(raw.colors, 1) and samples != wanted.channels:
        return (
            f"has {samples} samples a pixel, of which {raw.colors} are read; `channels: {samples}` reads all, "
            "`bands: [..]` some"
        )
    return ""


def _of_alpha(samples: int) -> str:
    return (
        "has an alpha channel, which is dropped; `alpha: composite` lays the image over white, and "
        f"`channels: {samples}` reads it as a channel"
    )


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """`pixels` `[C, H, W]` upright, given the EXIF orientation of what is stored, 1 to 8."""
    if orientation in SIDEWAYS:
        pixels = pixels.swapaxes(1, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, :, ::-1]
    return pixels


def full_scale(raw: Raw) -> float:
    """The value that stands for white."""
    if raw.high is not None:
        return raw.high
    return float(np.iinfo(str(raw.pixels.dtype)).max) if raw.pixels.dtype.kind in "iu" else 1.0


def _place(band: int | str, raw: Raw, name: str) -> int:
    if band in raw.names:
        return raw.names.index(str(band))
    if band in range(len(raw.pixels)):
        return int(band)
    listed = ", ".join(raw.names) or "without names"
    raise ChannelsError(
        f"{name}: has no band {band!r}; it has {len(raw.pixels)}, from 0 ({listed}). Write other `bands`"
    )


def _colors(raw: Raw, channels: int, wanted: Wanted, name: str) -> Pixels:
    """Gray or color as `channels`."""
    colors = raw.pixels[: raw.colors]
    if raw.colors == channels:
        return colors
    if not wanted.convert or raw.colors not in (1, 3) or channels not in (1, 3):
        raise ChannelsError(f"{name}: {_mismatch(raw, wanted)}")
    if channels == 3:
        return np.repeat(colors, 3, axis=0)
    wide = colors.astype(np.float64 if colors.dtype.itemsize > 2 else np.float32)
    gray = (wide * np.array(LUMA, wide.dtype)[:, None, None]).sum(0, keepdims=True)
    return np.asarray(np.rint(gray) if colors.dtype.kind in "iu" else gray).astype(colors.dtype)


def _mismatch(raw: Raw, wanted: Wanted) -> str:
    content = {0: f"{raw.planes} bands", 1: "gray", 3: "color"}.get(raw.colors, f"{raw.colors} inks")
    count = f", {raw.planes} planes in all" if raw.planes != max(raw.colors, 1) and raw.colors else ""
    advice = "choose some with `bands: [..]`" if raw.planes > 1 else "convert the file"
    if not wanted.convert and raw.colors in (1, 3) and wanted.channels in (1, 3):
        advice = "set `convert: true`, or convert the file"
    return (
        f"is an image of {content} ({raw.pixels.dtype}{count}), which is not what `channels: {wanted.channels}` "
        f"asks for; set `channels: {raw.planes}`, or {advice}"
    )


def _alpha(raw: Raw) -> Pixels:
    """`[1, H, W]`, opaque where the file has none."""
    if raw.alpha is not None:
        return raw.pixels[raw.alpha : raw.alpha + 1]
    return np.full_like(raw.pixels[:1], full_scale(raw))


def _composite(raw: Raw) -> Raw:
    """Colors laid over white."""
    top = full_scale(raw)
    colors = raw.pixels[: raw.colors].astype(np.float64)
    alpha = _alpha(raw).astype(np.float64) / top
    white = 0.0 if raw.inverted else WHITE * top
    blended = colors * (1.0 if raw.premultiplied else alpha) + white * (1 - alpha)
    if raw.pixels.dtype.kind in "iu":
        blended = np.rint(blended).clip(None, top)
    return raw._replace(
        pixels=blended.astype(raw.pixels.dtype), alpha=None, samples=raw.colors, pages=1, names=()
    )


def stacked_planes(array: Pixels, axes: Sequence[str]) -> Pixels:
    """`array`, whose axes are called `axes` with Y and X among them, as `[planes, H, W]`."""
    order = [i for i, axis in enumerate(axes) if axis not in "YX"] + [axes.index("Y"), axes.index("X")]
    array = array.transpose(order)
    return array.reshape(-1, *array.shape[-2:])
