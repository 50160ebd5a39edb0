"""Streams, views and patch grids: the shapes of what networks read, with any number of axes. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self, final

from sslkit.errors import SpecError

if TYPE_CHECKING:
    from sslkit.core.transform import Transform

IMAGE = "image"
"""Type of the stream of sources that say nothing of streams, and of what components take that say nothing of types."""
Size = int | tuple[int, ...]
"""Sides of a crop: one number where all are alike."""


class Stream(NamedTuple):
    """One of the things that a source gives of every sample: a tensor `[C, *axes]`."""

    type: str = IMAGE
    """A word that transforms, augmentations and networks know it by: `image`, `text`, `audio`, `video`, ..."""
    axes: int = 2
    """Axes besides channels: 2 of an image, 1 of text or sound, 3 of a video."""


def sides_of(size: Size, axes: int) -> tuple[int, ...]:
    """`size` as one number an axis.

    Raises:
        SpecError: it has another number of sides.
    """
    sides = (size,) * axes if isinstance(size, int) else tuple(size)
    if len(sides) != axes:
        raise SpecError(
            f"has {len(sides)} sides, found {list(sides)}, but what is cut has {axes}; give one an axis"
        )
    return sides


def size_of(sides: tuple[int, ...]) -> Size:
    """`sides` as one number where all are alike."""
    return sides[0] if len(set(sides)) == 1 else sides


def by(numbers: tuple[int, ...]) -> str:
    """`14 x 14`, for people."""
    return " x ".join(map(str, numbers))


@final
@dataclass(frozen=True, init=False)
class Grid:
    """Patches of a crop, along each of its axes."""

    shape: tuple[int, ...]
    """Number of patches along each axis."""
    sides: tuple[int, ...]
    """Extent of a patch along each axis, in pixels, frames or symbols."""

    def __init__(self, rows: int, cols: int, patch: int) -> None:
        """The patches of an image. `Grid.of` makes those of anything else."""
        self._set((rows, cols), (patch, patch))

    @classmethod
    def of(cls, shape: tuple[int, ...], sides: tuple[int, ...]) -> Self:
        """A grid of as many axes as there are numbers in `shape`, and as many in `sides`."""
        grid = cls.__new__(cls)
        grid._set(shape, sides)
        return grid

    def _set(self, shape: tuple[int, ...], sides: tuple[int, ...]) -> None:
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "sides", sides)

    @property
    def patches(self) -> int:
        """Number of patches."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Patches along the first of two axes. Raises SpecError where there are not two."""
        return self._pair()[0]

    @property
    def cols(self) -> int:
        """Patches along the second of two axes. Raises SpecError where there are not two."""
        return self._pair()[1]

    @property
    def patch(self) -> int:
        """Side of a square patch, in pixels. Raises SpecError where its sides differ, or are not two."""
        self._pair()
        if len(set(self.sides)) > 1:
            raise SpecError(f"needs square patches, found {by(self.sides)}; use a network that has them")
        return self.sides[0]

    def _pair(self) -> tuple[int, int]:
        if len(self.shape) != 2:
            raise SpecError(f"needs patches along 2 axes, as images have, found {len(self.shape)}: {self}")
        return self.shape[0], self.shape[1]

    def __str__(self) -> str:
        return by(self.shape)


@final
@dataclass(frozen=True, init=False)
class View:
    """A named group of crops, as the network sees it."""

    sides: tuple[int, ...]
    """Sides of a crop along its axes, in pixels, frames or symbols."""
    crops: int
    """Crops of each sample."""
    channels: int
    mean: tuple[float, ...]
    """Mean that was subtracted, per channel, for values in [0, 1]; empty for symbols."""
    std: tuple[float, ...]
    """Deviation that was divided by, per channel."""
    show: tuple[int, int, int] | None = None
    """Channels that figures show as red, green and blue. None: the first three; of one or two the first, as gray."""
    type: str = IMAGE
    """What its crops are: the type of its stream, or what its transform gives."""
    stream: str = IMAGE
    """What of a sample it is of."""
    axes: int = 2
    """Axes of a sample of its stream, besides channels."""
    transform: Transform | None = field(default=None, compare=False)
    """What makes its crops of samples, if anything does."""

    def __init__(
        self,
        size: Size,
        crops: int,
        channels: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        show: tuple[int, int, int] | None = None,
        type: str = IMAGE,
        stream: str = IMAGE,
        axes: int = 2,
        transform: Transform | None = None,
    ) -> None:
        """`size`: one number is the side of a square, or the length of a row of symbols."""
        flat = transform is not None and transform.symbols
        sides = sides_of(size, 1 if flat else 2) if isinstance(size, int) else tuple(size)
        values = (sides, crops, channels, mean, std, show, type, stream, axes, transform)
        for one, value in zip(fields(self), values, strict=True):
            object.__setattr__(self, one.name, value)

    @property
    def symbols(self) -> bool:
        """Whether crops are numbers of a vocabulary, int64, and not values."""
        return self.transform is not None and self.transform.symbols

    @property
    def facts(self) -> Mapping[str, int]:
        """What its transform tells of itself: `vocabulary`, `pad`, ..."""
        return {} if self.transform is None else self.transform.facts

    @property
    def size(self) -> int:
        """Side of a crop, in pixels. Raises SpecError where sides differ: what reads it serves equal ones only."""
        if len(set(self.sides)) > 1:
            raise SpecError(
                f"serves square crops only, found {by(self.sides)}; give the view one number as its `size`"
            )
        return self.sides[0]

    @property
    def extent(self) -> Size:
        """Its sides as `grid` of networks takes them: one number where they are alike."""
        return size_of(self.sides)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one crop: `(C, H, W)` of an image, `(L,)` of symbols."""
        return self.sides if self.symbols else (self.channels, *self.sides)

    def seen(self) -> dict[str, object]:
        """What decides what the network sees: all but `show`. What only some views have is left out of others."""
        shown = {"size": self.extent, "crops": self.crops, "channels": self.channels}
        more = {} if self.transform is None else {"type": self.type, "facts": dict(self.facts)}
        return {**shown, "mean": self.mean, "std": self.std, **more}

    def _replace(self, **changes: object) -> Self:
        """A copy with other values, by the names that `View(...)` takes."""
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        values["size"] = values.pop("sides")
        return type(self)(**(values | changes))
