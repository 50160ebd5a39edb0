"""Mergeable counts of pixel values per channel, from which means, deviations and percentiles follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sslkit.core.augment import to_float

LEVELS = 256
"""Of 8-bit images, whose counts are exact."""
BINS = 1 << 14
"""Of the unit range, for all other images: their percentiles are right to one of them."""
AT_ONCE = 1 << 20
"""Values of small images of one shape that are counted together."""

Counts = NDArray[np.int64]
Sums = NDArray[np.float64]


class ChannelSummary(NamedTuple):
    """The values of one channel, in [0, 1], over every pixel of whole images."""

    mean: float
    std: float
    """Of the population: divided by the number of pixels."""
    low: float
    p1: float
    p99: float
    high: float


@final
class PixelTally:
    """Counts of values per channel. 8-bit values are counted by level, all others by bin of the unit range."""

    def __init__(self, channels: int) -> None:
        self.levels: Counts = np.zeros((channels, LEVELS), np.int64)
        self.bins: Counts | None = None
        """`[C, BINS]`, once there is an image that is not 8-bit."""
        self.sums: Sums = np.zeros((2, channels))
        """Of values and of their squares, of what is in `bins`."""
        self.bounds: Sums = np.stack([np.full(channels, np.inf), np.full(channels, -np.inf)])
        """Lowest and highest of what is in `bins`."""

    def add(self, images: Sequence[Tensor]) -> None:
        """Count every pixel of `images`, each `[C, H, W]` as a source gives them, of one shape and type."""
        same = images if images[0].dtype == torch.uint8 else [to_float(image) for image in images]
        tall = same[0] if len(same) == 1 else torch.cat(list(same), dim=1)
        if tall.dtype == torch.uint8:
            self.levels += _levels(tall)
        else:
            self._add_floats(tall)

    def merge(self, other: PixelTally) -> None:
        """Add what `other` has counted."""
        self.levels += other.levels
        self.sums += other.sums
        self.bounds = np.stack(
            [np.minimum(self.bounds[0], other.bounds[0]), np.maximum(self.bounds[1], other.bounds[1])]
        )
        if other.bins is not None:
            self.bins = other.bins if self.bins is None else self.bins + other.bins

    def summaries(self) -> list[ChannelSummary]:
        """Of each channel; empty where nothing was counted."""
        counted = self.levels.sum() + (0 if self.bins is None else self.bins.sum())
        return [self._summary(channel) for channel in range(len(self.levels))] if counted else []

    def _add_floats(self, images: Tensor) -> None:
        flat = images.reshape(len(images), -1).nan_to_num(0.0)
        exact = flat.double()
        self.sums += torch.stack([exact.sum(1), exact.square().sum(1)]).numpy()
        low, high = flat.amin(1).double().numpy(), flat.amax(1).double().numpy()
        self.bounds = np.stack([np.minimum(self.bounds[0], low), np.maximum(self.bounds[1], high)])
        places = (flat * BINS).to(torch.int64).clamp_(0, BINS - 1)
        counts = torch.stack([torch.bincount(row, minlength=BINS) for row in places]).numpy()
        self.bins = counts if self.bins is None else self.bins + counts

    def _summary(self, channel: int) -> ChannelSummary:
        levels = self.levels[channel]
        values, counts = np.arange(LEVELS) / (LEVELS - 1), levels.astype(np.float64)
        total, square = self.sums[:, channel] + (counts @ values, counts @ values**2)
        seen = values[levels > 0]
        low, high = self.bounds[:, channel]
        if len(seen):
            low, high = min(low, seen[0]), max(high, seen[-1])
        if self.bins is not None:
            middle = ((np.arange(BINS) + 0.5) / BINS).clip(low, high)
            values, counts = np.concatenate([values, middle]), np.concatenate([counts, self.bins[channel]])
        mean = total / counts.sum()
        deviation = np.sqrt(max(0.0, square / counts.sum() - mean**2)) if high > low else 0.0
        p1, p99 = percentiles(values, counts, (1, 99))
        return ChannelSummary(float(mean), float(deviation), float(low), p1, p99, float(high))


def percentiles(values: Sums, counts: Sums, shares: Iterable[float]) -> list[float]:
    """The lowest value at or below which each of `shares` percent lie, where values occur as often as `counts` say."""
    order = np.argsort(values, kind="stable")
    reached = counts[order].cumsum()
    places = [np.searchsorted(reached, share / 100 * reached[-1]) for share in shares]
    return [float(values[order][min(place, len(values) - 1)]) for place in places]


def _levels(image: Tensor) -> Counts:
    """`[C, 256]` of `[C, H, W]` uint8. Pillow counts twice as fast as NumPy, as it widens nothing."""
    if len(image) == 3:
        counts = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).histogram()
    else:
        counts = [
            n for plane in image for n in Image.fromarray(plane.contiguous().numpy()).histogram()[:LEVELS]
        ]
    return np.array(counts, np.int64).reshape(len(image), LEVELS)
