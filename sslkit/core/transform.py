"""Transforms: what turns samples of a stream into what networks read, as tokenizers and spectrograms do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.core.random_stream import Draw


class CropPlace(NamedTuple):
    """Which crop of a view is made, and when."""

    crop: int
    """From 0."""
    step: int
    """Of the run."""
    shared: Draw
    """Rows `[B]`: a stream that all crops of a sample have in common in one step."""


class Transform(ABC):
    """Makes crops of one shape of samples of any length. It runs in worker processes too, so it can be pickled."""

    symbols: bool = False
    """Whether it makes numbers of a vocabulary, int64, and not values."""
    channels: int = 1
    """Channels of the values that it makes; 0 for as many as samples have."""
    facts: Mapping[str, int] = {}
    """What networks and objectives must know of it, as `View.facts`: `vocabulary`, `pad`, `mask`, ..."""

    @abstractmethod
    def __call__(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        """What it makes of B samples `[C, *axes]`, as the source gives them.

        All randomness comes from `draw`, of rows `[B]`; a result depends on its own sample and row only.

        Returns:
            `[B, *sides]` int64 where it makes `symbols`, else `[B, C, *sides]`, uint8, or float32 in [0, 1].
        """

    def crop(self, samples: Sequence[Tensor], draw: Draw, place: CropPlace) -> Tensor:
        """As a call, for training. Override it where crops of a sample depend on each other, or on the step."""
        return self(samples, draw)

    def fixed(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        """What evaluation and figures read of B samples, shaped as what the call gives.

        `draw` is of equal rows, so a transform that draws does so alike for all samples, the default. Override it where
        there is a middle to take.
        """
        return self(samples, draw)


def bytes_of(text: str) -> Tensor:
    """`text` as sources give it: `[1, L]` uint8, in UTF-8."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)[None] if text else _NOTHING.clone()


def text_of(sample: Tensor) -> str:
    """The text of `[1, L]` uint8; what is no UTF-8 becomes U+FFFD."""
    return bytes(sample.flatten().tolist()).decode(errors="replace")


_NOTHING = torch.empty(1, 0, dtype=torch.uint8)
