"""Cache of patch tokens, and masks, of a split. Shapes: n images, N patches, D width, S pixels a side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import final

import torch
from torch import Tensor

from sslkit.functional.resize import nearest_center
from sslkit.interfaces import Source, Split, Subject
from sslkit.plugin import DataError

AT_ONCE = 256
"""Images encoded at a time."""
GIB = 2**30


@final
class Bank:
    """Patch tokens of the readable images of a split, kept as float16 or computed at every call."""

    def __init__(self, subject: Subject, split: Split, layer: int, budget: float) -> None:
        """`layer` as `readout.layer`; `budget` in bytes.

        Raises:
            DataError: no image can be read, raw pixels are scored, or a token is not finite.
        """
        self.subject, self.split, self.layer = subject, split, layer
        self.indices = subject.rows(split, lambda images, _: images.new_zeros(len(images), 1)).indices.cpu()
        """`[n]` int64, places in the source."""
        self.grid = subject.backbone().grid(subject.view.size)
        first = self._compute(self.indices[:AT_ONCE])
        self.kept: Tensor | None = None
        if len(self.indices) * first[0].numel() * 2 <= budget:
            others = [self._compute(part) for part in self.indices[AT_ONCE:].split(AT_ONCE) if len(part)]
            self.kept = torch.cat([first, *others])

    def __len__(self) -> int:
        """Number of readable images."""
        return len(self.indices)

    def __call__(self, rows: Tensor) -> Tensor:
        """Tokens `[B, N, D]` float32 of the readable images number `rows` `[B]`."""
        if self.kept is not None:
            return self.kept[rows.to(self.kept.device)].float()
        return self._compute(self.indices[rows.cpu()]).float()

    def _compute(self, indices: Tensor) -> Tensor:
        """`[B, N, D]` float16."""
        layers = () if self.layer == -1 else (self.layer,)

        def make(images: Tensor, _: Tensor) -> Tensor:
            tokens = self.subject.tokens(images, layers)
            return tokens.layers[0][0][:, 1:] if layers else tokens.patch[0]

        tokens = self.subject.rows(self.split, make, indices).values.half()
        if not bool(tokens.isfinite().all()):
            raise DataError(
                f"patch tokens of {self.split} images are not finite, or beyond 65504: the network has diverged"
            )
        return tokens


def read_masks(source: Source, indices: Tensor, subject: Subject) -> Tensor:
    """Masks of the images `indices` `[n]`, cut as the readout cuts them: `[n, S, S]` uint8 on the CPU.

    Raises:
        DataError: a mask cannot be read.
    """

    def read(index: int) -> Tensor:
        mask = source.mask(index)
        if mask is None:
            raise DataError(f"{source.name(index)}: has no mask")
        return nearest_center(mask[None], subject.view.size, subject.crop)[0]

    with ThreadPoolExecutor(max(1, subject.workers)) as pool:
        return torch.stack(list(pool.map(read, indices.tolist())))
