"""Large images cut into tiles, without those where nothing is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslkit.interfaces import SIZE, digests_within, state_of
from sslkit_science.layout import Window
from sslkit_science.reader import Pixels, Plane, Reader

DETAIL = 8
"""Pixels of an overview across a tile at least, for it to tell whether the tile is empty."""


def windows(plane: Plane, tile: int | None) -> list[Window]:
    """The tiles of a plane, row by row; the last of a row or column lies at the edge and so overlaps the one before."""
    if tile is None:
        return [Window(0, 0, plane.height, plane.width)]
    height, width = min(tile, plane.height), min(tile, plane.width)
    return [
        Window(y, x, height, width) for y in _starts(plane.height, tile) for x in _starts(plane.width, tile)
    ]


def filled_windows(reader: Reader, path: Path, plane: Plane, tile: int, empty: float) -> list[Window]:
    """The tiles of a plane in which the values of some channel differ by more than `empty`, a share of their range.

    The range is that of the values that the plane, or its overview, has. Which tiles these are is kept between runs.
    """
    every = windows(plane, tile)
    part = f"tiles {tile} {empty} {reader.settings} {plane.place}"
    flags = digests_within(
        path, part, state_of(path), lambda: _marks(_filled(reader, path, plane, every, empty))
    )
    return [window for window, row in zip(every, flags, strict=True) if row[0]]


def _starts(size: int, tile: int) -> list[int]:
    if size <= tile:
        return [0]
    starts = list(range(0, size - tile + 1, tile))
    return starts if starts[-1] == size - tile else [*starts, size - tile]


def _marks(filled: Sequence[bool]) -> NDArray[np.uint8]:
    """`[N, SIZE]`, as hashes are kept."""
    marks = np.zeros((len(filled), SIZE), dtype=np.uint8)
    marks[:, 0] = filled
    return marks


def _filled(reader: Reader, path: Path, plane: Plane, every: Sequence[Window], empty: float) -> list[bool]:
    extremes = np.array([(part.min((1, 2)), part.max((1, 2))) for part in _looks(reader, path, plane, every)])
    low, high = extremes[:, 0].astype(np.float64), extremes[:, 1].astype(np.float64)
    whole = np.nan_to_num(high.max(0) - low.min(0))
    return list(((high - low) > empty * whole).any(1) & (whole > 0).any())


def _looks(reader: Reader, path: Path, plane: Plane, every: Sequence[Window]) -> Iterator[Pixels]:
    """What is seen of each tile: the overview's part where that is fine enough, and the tile itself otherwise."""
    overview = reader.overview(path, plane)
    scale = 0.0 if overview is None else overview.shape[1] / plane.height
    if overview is None or min(every[0].height, every[0].width) * scale < DETAIL:
        yield from (_without_nan(reader.read(path, plane, window)) for window in every)
        return
    for y, x, height, width in every:
        rows = slice(int(y * scale), max(int((y + height) * scale), int(y * scale) + 1))
        columns = slice(int(x * scale), max(int((x + width) * scale), int(x * scale) + 1))
        yield _without_nan(overview[:, rows, columns])


def _without_nan(pixels: Pixels) -> Pixels:
    """Without values that are none: tiles of nothing but these are constant."""
    return np.nan_to_num(pixels) if pixels.dtype.kind == "f" else pixels
