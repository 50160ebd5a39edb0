"""Tokens of nets that never change, kept on disk for every image: they are read where the net would have run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from sslkit.core.passes import Encode, Tokens
from sslkit.core.whole_batch import made_by_nets, rebuilt
from sslkit.data.loaders import Batch
from sslkit.specs.nets import CacheType

Look = Callable[[Mapping[str, Tensor], Sequence[int]], list[Tokens]]
"""`System.look`."""


class Packing(NamedTuple):
    """How the tensors that answer a pass lie in a row of numbers, one row an image."""

    shapes: tuple[tuple[int, ...], ...]
    """`[V, ...]` of each tensor, without the dimension of images."""
    types: tuple[torch.dtype, ...]
    """What each was computed in, and is again once it is read."""
    stored: torch.dtype

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return sum(map(prod, self.shapes))

    @property
    def numpy_type(self) -> str:
        """`stored`, as NumPy has it."""
        return str(self.stored).removeprefix("torch.")

    def packed(self, tensors: Sequence[Tensor]) -> Tensor:
        """`[B, width]` of tensors `[V, B, ...]`."""
        return torch.cat([t.transpose(0, 1).flatten(1).to(self.stored) for t in tensors], dim=1)

    def unpacked(self, rows: Tensor) -> list[Tensor]:
        """The tensors `[V, B, ...]` of rows `[B, width]`."""
        parts = rows.split([prod(shape) for shape in self.shapes], dim=1)
        return [
            part.reshape(len(rows), *shape).transpose(0, 1).to(kind).contiguous()
            for part, shape, kind in zip(parts, self.shapes, self.types, strict=True)
        ]


def packing_of(tensors: Sequence[Tensor], cache: CacheType) -> Packing:
    """For tensors `[V, B, ...]`. `exact` keeps them in float32, or wider, which holds every type that is narrower."""
    stored = torch.float16
    if cache == "exact":
        stored = torch.float32
        for tensor in tensors:
            stored = torch.promote_types(stored, tensor.dtype)
    shapes = tuple((t.shape[0], *t.shape[2:]) for t in tensors)
    return Packing(shapes, tuple(t.dtype for t in tensors), stored)


@final
class CachedTokens:
    """The answers to one pass for every image of a source, mapped from a file."""

    def __init__(self, path: Path, packing: Packing, images: int) -> None:
        """Open the file.

        Raises:
            ValueError: it is damaged.
            OSError: it is not there.
        """
        self.path, self.packing = path, packing
        if not S_ISREG(path.stat().st_mode):  # opening a named pipe waits for good
            raise ValueError(f"{path}: is no regular file")
        self._rows = np.lib.format.open_memmap(path, mode="r")
        if self._rows.shape != (images, packing.width) or self._rows.dtype != packing.numpy_type:
            raise ValueError(f"{path}: is damaged")

    def rows(self, indices: Tensor) -> Tensor:
        """`[B, width]` of the images `indices` `[B]`, on the CPU."""
        return torch.from_numpy(self._rows[indices.cpu().numpy()])

    def answer(self, run: Encode, batch: Batch) -> Tokens:
        """What the net would answer to `run`.

        Raises:
            ValueError: the batch does not say which images it holds.
        """
        if batch.indices is None:
            raise ValueError("tokens are cached by image: a `Batch` needs `indices`")
        rows = self.rows(batch.indices).to(batch.images[run.view].device, non_blocking=True)
        return rebuilt([run], self.packing.unpacked(rows), batch.images, [None])[0]


def looked(
    look: Look, runs: Sequence[Encode], batch: Batch, cached: Mapping[int, CachedTokens]
) -> list[Tokens]:
    """The answers to `runs`, by `look` or, of those whose places `cached` has, from the disk."""
    fresh = iter(look(batch.images, tuple(sorted(cached))) if len(cached) < len(runs) else ())
    return [cached[i].answer(run, batch) if i in cached else next(fresh) for i, run in enumerate(runs)]


def tensors_of(tokens: Tokens) -> list[Tensor]:
    """What a net made, in the order of a row."""
    return made_by_nets([tokens])
