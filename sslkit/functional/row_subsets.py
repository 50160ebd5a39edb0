"""Operations on selected images of a batch. B images, C channels, H x W pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

CACHEFUL = 1 << 18
"""Values that a CPU core keeps at hand between operations (1 MiB of float32)."""

RowSelection = Tensor | slice
"""Rows of a batch: `[n]` int64, or a slice where they lie side by side."""
Change = Callable[[Tensor, RowSelection], Tensor]
"""(`[n, C, H, W]` images, the rows of the batch that they are) -> the images, changed; not in place."""


def change_rows(
    images_BCHW: Tensor, selected_B: Tensor, change: Change, *, at_once: int | None = None
) -> Tensor:
    """`images_BCHW` with `change` applied where `selected_B` is true; the input stays as it was.

    On a CPU only the selected images are worked on, a cacheful at a time. Elsewhere all of them are, and the
    result is selected: the shapes are then fixed and the host waits for nothing.

    Args:
        images_BCHW: Images.
        selected_B: Booleans.
        change: What to do; an image's result must not depend on the others.
        at_once: Images that `change` gets at most in one call on a CPU. Default: a cacheful.

    Returns:
        A new tensor of the same shape.
    """
    if images_BCHW.device.type != "cpu":
        return torch.where(selected_B[:, None, None, None], change(images_BCHW, slice(None)), images_BCHW)
    changed = images_BCHW.clone(memory_format=torch.contiguous_format)
    for rows in cachefuls(selected_B.nonzero().flatten().tolist(), images_BCHW[:1].numel(), at_once):
        put(changed, rows, change(take(images_BCHW, rows), rows))
    return changed


def cachefuls(rows: Sequence[int], numel: int, at_once: int | None = None) -> Iterator[RowSelection]:
    """`rows` in pieces of as many images of `numel` values as fit in a core's cache, at least one."""
    length = at_once or max(1, CACHEFUL // max(1, numel))
    for start in range(0, len(rows), length):
        piece = rows[start : start + length]
        together = all(row == piece[0] + i for i, row in enumerate(piece))
        yield slice(piece[0], piece[-1] + 1) if together else torch.tensor(piece)


def runs(values: Sequence[int]) -> Iterator[tuple[int, slice]]:
    """Each value that follows itself for a while, and where."""
    start = 0
    for value, group in groupby(values):
        stop = start + len(list(group))
        yield value, slice(start, stop)
        start = stop


def take(values: Tensor, rows: RowSelection) -> Tensor:
    """`values[rows]`; a view where the rows lie side by side."""
    return values[rows] if isinstance(rows, slice) else values.index_select(0, rows)


def put(values: Tensor, rows: RowSelection, new: Tensor) -> None:
    """`values[rows] = new`."""
    if isinstance(rows, slice):
        values[rows] = new
    else:
        values.index_copy_(0, rows, new)
