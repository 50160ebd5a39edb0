"""Data order: which images make which step, on which rank, in which micro-batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.errors import SpecError
from sslkit.runtime import seeds


class BatchShare(NamedTuple):
    """One rank's part of every step's batch."""

    rank: int
    world: int
    micro: int
    """Images in a micro-batch."""


@final
class Order:
    """A fresh permutation of all images each epoch; what does not fill a batch is left out, as in the references."""

    def __init__(self, images: int, batch: int, seed: int, share: BatchShare) -> None:
        if images < batch:
            raise SpecError(
                f"batch_size: {batch} is more than the {images} training images; use at most {images}"
            )
        if batch % (share.world * share.micro):
            raise SpecError(
                f"batch_size: {batch} is not a multiple of {share.world} ranks x {share.micro} (micro_batch_size)"
            )
        self.images, self.batch, self.seed, self.share = images, batch, seed, share
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
            order = torch.randperm(self.images, generator=seeds.generator(self.seed, "order", epoch))
            self._epoch = (epoch, order)
        return self._epoch[1][place * self.batch : (place + 1) * self.batch]
