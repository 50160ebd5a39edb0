"""Axes of arrays of images: which are rows, columns and channels; every other one counts images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.plugin import DataError
from sslkit_science.axes import SYNONYMS


class Window(NamedTuple):
    """A part of an image."""

    y: int
    x: int
    height: int
    width: int


class Layout(NamedTuple):
    """What the axes of one array are, and how many places each has."""

    axes: str
    """One letter for each: `Y` rows, `X` columns, `C` channels, and others, whose places are images."""
    shape: tuple[int, ...]
    channel_axes: str = "C"
    """Which axes are channels."""

    @property
    def image_axes(self) -> list[int]:
        """Places of the axes that count images."""
        return [i for i, axis in enumerate(self.axes) if axis not in "YX" + self.channel_axes]

    @property
    def images(self) -> int:
        """How many there are."""
        return math.prod(self.shape[i] for i in self.image_axes)

    @property
    def channels(self) -> int:
        """Of each image; 1 where no axis has them."""
        return math.prod(
            size for axis, size in zip(self.axes, self.shape, strict=True) if axis in self.channel_axes
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[self.axes.index("Y")], self.shape[self.axes.index("X")]

    def position(self, image: int) -> dict[int, int]:
        """Axis that counts images -> the place of `image` along it."""
        counted = self.image_axes
        places = np.unravel_index(image, [self.shape[i] for i in counted]) if counted else ()
        return dict(zip(counted, map(int, places), strict=True))

    def name(self, image: int) -> str:
        """The place of `image` in words, such as `T=0 Z=3`; empty where there is one image."""
        return " ".join(f"{self.axes[i]}={n}" for i, n in self.position(image).items() if self.shape[i] > 1)

    def selection(self, image: int, window: Window) -> tuple[int | slice, ...]:
        """What reads the channels of `image` within `window` from the array."""
        rows = slice(window.y, window.y + window.height)
        columns = slice(window.x, window.x + window.width)
        place: dict[int, int | slice] = {**self.position(image)}
        place |= {self.axes.index("Y"): rows, self.axes.index("X"): columns}
        return tuple(place.get(i, slice(None)) for i in range(len(self.axes)))

    def arranged(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """What `selection` read, as `[C, H, W]`."""
        left = [axis for i, axis in enumerate(self.axes) if i not in self.image_axes]
        order = [i for i, axis in enumerate(left) if axis not in "YX"] + [left.index("Y"), left.index("X")]
        moved = pixels.transpose(order)
        return moved.reshape(-1, *moved.shape[-2:])


def layout_of(shape: Sequence[int], axes: str | None, where: str) -> Layout:
    """The layout of an array of `shape` whose axes are called `axes`; without names, only two axes are plain.

    Raises:
        DataError: there are other axes than `axes` says, or `axes` is needed.
    """
    shape = tuple(int(size) for size in shape)
    if axes is None:
        if len(shape) != 2:
            raise DataError(
                f"{where}: has the shape {shape}; name its axes with the field `axes`, with Y for rows, X for columns, "
                f"C for channels and any other letter for what counts images, as in axes: {_example(len(shape))}"
            )
        axes = "YX"
    if len(axes) != len(shape):
        raise DataError(
            f"{where}: has the shape {shape}, {len(shape)} axes, but axes: {axes} names {len(axes)}"
        )
    return Layout("".join(SYNONYMS.get(axis, axis) for axis in axes), shape)


def _example(count: int) -> str:
    return {1: "YX", 3: "NYX", 4: "NYXC", 5: "TZCYX"}.get(count, "NTZCYX")
