"""Confusion matrix, intersection over union and pixel accuracy. Shapes: n images, C regions, S pixels a side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

UNKNOWN = 255
RESAMPLES = 1000
LEVEL = 0.95


class Overlap(NamedTuple):
    """Counts of labeled pixels."""

    confusion: Tensor
    """`[C, C]` int64: truth by prediction."""
    images: Tensor
    """`[n, 3, C]` int64 of each image: pixels right, true and predicted."""


def overlap(guess: Tensor, truth: Tensor, regions: int) -> Overlap:
    """The counts of predictions `[n, S, S]` against masks of that shape, where 255 is unlabeled."""
    counted = truth != UNKNOWN
    place = torch.arange(len(truth), device=truth.device).view(-1, 1, 1).expand_as(truth)[counted]
    true, predicted = truth[counted].long(), guess[counted].long()
    confusion = torch.bincount(true * regions + predicted, minlength=regions**2).view(regions, regions)
    right = true == predicted
    counts = [
        _by_image(p, v, len(truth), regions)
        for p, v in ((place[right], true[right]), (place, true), (place, predicted))
    ]
    return Overlap(confusion, torch.stack(counts, dim=1))


def joined(parts: list[Overlap]) -> Overlap:
    """Those of several sets of images, in order."""
    confusion = torch.stack([part.confusion for part in parts]).sum(0)
    return Overlap(confusion, torch.cat([part.images for part in parts]))


def iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each region, `[C]` float64; NaN where it is neither there nor predicted."""
    right = confusion.diagonal().double()
    return right / (confusion.sum(0) + confusion.sum(1) - right)


def mean_iou(confusion: Tensor) -> float:
    """The mean over the regions that are there or predicted; 0 where no pixel is labeled."""
    values = iou(confusion)
    present = values[~values.isnan()]
    return float(present.mean()) if len(present) else 0.0


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of the labeled pixels that are right; 0 where none is labeled."""
    return float(confusion.diagonal().sum() / confusion.sum().clamp(min=1))


def iou_interval(images: Tensor, seed: int) -> tuple[float, float] | None:
    """The 95 % percentile bootstrap interval of `mean_iou` over images; None of fewer than two.

    Args:
        images: `[n, 3, C]`, as `Overlap` has them.
        seed: of the resamples.
    """
    count = len(images)
    if count < 2:
        return None
    generator = np.random.default_rng(seed)
    counts = images.cpu().numpy().astype(np.float64).reshape(count, -1)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
    right, true, predicted = (drawn @ counts).reshape(RESAMPLES, 3, -1).transpose(1, 0, 2)
    union = true + predicted - right
    present = union > 0
    means = np.where(present, right / np.where(present, union, 1), 0).sum(1) / present.sum(1).clip(min=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _by_image(place: Tensor, value: Tensor, images: int, regions: int) -> Tensor:
    """How often each image has each value, `[images, regions]`."""
    return torch.bincount(place * regions + value, minlength=images * regions).view(images, regions)
