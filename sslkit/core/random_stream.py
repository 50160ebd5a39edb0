"""Counter-based random streams: numbers as a pure function of (key, row).

Every row (an image of the step's global batch) has a stream of its own, computed by integer arithmetic. So masks and
augmentations are equal on a CPU and a GPU, in one process and on eight ranks, in one batch and in micro-batches,
and need no generator state in a checkpoint. Keys are made in `runtime/seeds.py` and nowhere else.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

# Constants of splitmix64 (Steele, Lea & Flood 2014) and two odd strides, as signed 64-bit numbers.
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)
_ALL = (1 << 64) - 1
_STRIDE_ROW = 0x9E3779B97F4A7C15 - (1 << 64)
_STRIDE_COLUMN = 0xD1B54A32D192ED03 - (1 << 64)


@final
class Draw:
    """Streams of random numbers, one for each element of `rows`."""

    def __init__(self, key: int, rows: Tensor) -> None:
        """`key`: any 64-bit integer; `rows`: int64 identities of the images, any shape, on the device of use."""
        self.key = key
        self.rows = rows
        self._calls = 0

    @property
    def shape(self) -> torch.Size:
        """Leading shape of everything drawn."""
        return self.rows.shape

    @property
    def device(self) -> torch.device:
        """Device of everything drawn."""
        return self.rows.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform float32 numbers in [low, high), `[*rows, *shape]`. Every call draws new ones."""
        bits = self._bits(math.prod(shape))
        unit = ((bits >> 40) & 0xFFFFFF).to(torch.float32) * (1.0 / (1 << 24))
        return (unit * (high - low) + low).reshape((*self.shape, *shape))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 numbers, `[*rows, *shape]` (Box and Muller)."""
        radius = (-2.0 * torch.log1p(-self.uniform(*shape))).sqrt()
        return radius * torch.cos(2.0 * math.pi * self.uniform(*shape))

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Booleans that are true with `probability`, `[*rows, *shape]`."""
        return self.uniform(*shape) < probability

    def integers(self, high: int, *shape: int) -> Tensor:
        """Integers in [0, high), `[*rows, *shape]`."""
        return (self.uniform(*shape) * high).long().clamp_(max=high - 1)

    def shared(self) -> float:
        """A uniform number in [0, 1), the same for all rows and known without waiting. Every call draws a new one."""
        self._calls += 1
        return (_scrambled(self.key, self._calls) >> 40 & 0xFFFFFF) / (1 << 24)

    def permutation(self, count: int) -> Tensor:
        """A random order of 0 .. count - 1 for each row, `[*rows, count]`."""
        return self._bits(count).reshape((*self.shape, count)).argsort(dim=-1)

    def _bits(self, count: int) -> Tensor:
        """64 random bits as int64, `[rows.numel(), count]`."""
        self._calls += 1
        row = _mix(self.rows.reshape(-1, 1) * _STRIDE_ROW + _scrambled(self.key, self._calls))
        column = torch.arange(1, count + 1, device=self.device, dtype=torch.int64) * _STRIDE_COLUMN
        return _mix(row + column)


def _scrambled(key: int, call: int) -> int:
    """The start of a call's streams, as a signed number.

    It is mixed before rows are added: on a lattice of calls and rows, some pairs would share their numbers.
    """
    x = (key + call * 0x9E3779B97F4A7C15) & _ALL
    x = (x ^ (x >> 30)) * (_MIX_1 & _ALL) & _ALL
    x = (x ^ (x >> 27)) * (_MIX_2 & _ALL) & _ALL
    x ^= x >> 31
    return x - (1 << 64) if x >> 63 else x


def _mix(x: Tensor) -> Tensor:
    """The splitmix64 finalizer; the masks make torch's arithmetic shifts logical."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _MIX_1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _MIX_2
    return x ^ ((x >> 31) & ((1 << 33) - 1))
