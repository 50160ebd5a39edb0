"""Data order: which images make which step, on which rank, in which micro-batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, final

import torch
from torch import Generator, Tensor

from sslkit.core.source import Blocks
from sslkit.errors import DataError, SpecError
from sslkit.runtime import seeds


class BatchShare(NamedTuple):
    """One rank's part of every step's batch."""

    rank: int
    world: int
    micro: int
    """Images in a micro-batch."""


class Batches(Protocol):
    """Which images make which step, in this process."""

    def micro_batches(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(indices of images, rows in the step's global batch) of each micro-batch."""
        ...


@final
class InOrder:
    """All images in their order, once. Every batch has the same size: the last one begins again with the first."""

    def __init__(self, images: int, starts: Sequence[int], batch: int) -> None:
        """`starts`: the first image of each batch; batch k is step k."""
        self.images, self.starts, self.batch = images, starts, batch

    def micro_batches(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(indices of images, rows) of batch number `step`."""
        rows = torch.arange(self.batch)
        yield (self.starts[step] + rows) % self.images, rows


@final
class Order:
    """A fresh permutation of all images each epoch; what does not fill a batch is left out, as in the references.

    With `blocks`, blocks are permuted, and images are permuted within every `window` blocks that follow each other:
    each image comes as often, and few blocks are read at a time.
    """

    def __init__(
        self, images: int, batch: int, seed: int, share: BatchShare, blocks: Blocks | None = None
    ) -> None:
        if images < batch:
            raise SpecError(
                f"batch_size: {batch} is more than the {images} training images; use at most {images}"
            )
        if batch % (share.world * share.micro):
            raise SpecError(
                f"batch_size: {batch} is not a multiple of {share.world} ranks x {share.micro} (micro_batch_size)"
            )
        if blocks is not None and (sum(blocks.sizes) != images or blocks.window < 1):
            raise DataError(
                f"the source has {images} images, and blocks of {sum(blocks.sizes)}, {blocks.window} of them mixed; "
                "expected blocks of all images, and at least 1"
            )
        self.images, self.batch, self.seed, self.share, self.blocks = images, batch, seed, share, blocks
        self.steps_per_epoch = images // batch
        self._epoch: tuple[int, Tensor] | None = None

    def micro_batches(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(indices of images, rows in the step's global batch) of each micro-batch of this rank."""
        indices = self._indices(step)
        per_rank = self.batch // self.share.world
        begin = self.share.rank * per_rank
        for start in range(begin, begin + per_rank, self.share.micro):
            rows = torch.arange(start, start + self.share.micro)
            yield indices[rows], rows

    def _indices(self, step: int) -> Tensor:
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            generator = seeds.generator(self.seed, "order", epoch)
            if self.blocks is None:
                order = torch.randperm(self.images, generator=generator)
            else:
                order = _by_blocks(self.blocks, generator)
            self._epoch = (epoch, order)
        return self._epoch[1][place * self.batch : (place + 1) * self.batch]


def _by_blocks(blocks: Blocks, generator: Generator) -> Tensor:
    """`[N]`: the images of a few blocks drawn from all, mixed, then those of the next few."""
    sizes = torch.tensor(blocks.sizes, dtype=torch.int64)
    starts = sizes.cumsum(0) - sizes
    order = torch.randperm(len(sizes), generator=generator)
    parts = list[Tensor]()
    for some in order.split(blocks.window):
        images = torch.cat([torch.arange(int(starts[i]), int(starts[i] + sizes[i])) for i in some])
        parts.append(images[torch.randperm(len(images), generator=generator)])
    return torch.cat(parts)
