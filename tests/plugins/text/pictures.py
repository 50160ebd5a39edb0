"""Pictures with captions for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Source, digest, stacked
from sslkit_text.captioned_source import CaptionedSource


class Pictures(Source):
    """Gray squares of 8 pixels, each of a level of its own, in two classes in turn."""

    channels = 1

    def __init__(self, count: int, names: Sequence[str] = ()) -> None:
        self.count, self.names = count, tuple(names)
        self.labels: Tensor | None = torch.arange(count) % 2
        self.classes: tuple[str, ...] = ("cat", "dog")

    def __len__(self) -> int:
        return self.count

    def load(self, index: int) -> Tensor:
        return torch.full((1, 8, 8), index, dtype=torch.uint8)

    def digests(self) -> NDArray[np.uint8]:
        return stacked([digest(bytes([i])) for i in range(self.count)])

    def name(self, index: int) -> str:
        return self.names[index] if self.names else str(index)


def captioned(texts: Sequence[str]) -> CaptionedSource:
    """A picture for each of the texts."""
    return CaptionedSource(Pictures(len(texts)), list(texts))
