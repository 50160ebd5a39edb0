"""Subsampled images and their features."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.interfaces import Split, Subject
from sslkit.plugin import DataError

LEAST = 4
"""Images that geometry needs."""


class Measured(NamedTuple):
    """Features of the images that are measured."""

    values: Tensor
    """`[N, D]` float32."""
    unit: Tensor
    """`[N, D]`, of length 1."""
    labels: Tensor | None
    """`[N]` int64."""
    classes: int


def choose(count: int, most: int, seed: int) -> Tensor:
    """`most` of the numbers 0 to `count` - 1 at random, or all of them, in order: int64."""
    if count <= most:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:most].sort().values


def measure(subject: Subject, split: Split, most: int) -> Measured:
    """Features of at most `most` images of `split`, with their labels where there are some.

    Raises:
        DataError: there are too few images to compare, or a feature is not finite.
    """
    source = subject.source(split)
    if source.labels is None:
        only = choose(len(source), most, subject.seed)
        rows = subject.rows(split, lambda images, _: subject.encode(images), only)
        values, labels, classes, places = rows.values, None, 0, rows.indices
    else:
        whole = subject.features(split)
        kept = choose(len(whole.values), most, subject.seed).to(whole.values.device)
        values, labels, classes, places = whole.values[kept], whole.labels[kept], len(whole.classes), kept
    if len(values) < LEAST:
        raise DataError(
            f"the {split} split has {len(values)} readable images; geometry needs at least {LEAST}"
        )
    _require_finite(values, places, split)
    return Measured(values, F.normalize(values, dim=1), labels, classes)


def _require_finite(values: Tensor, places: Tensor, split: Split) -> None:
    bad = (~torch.isfinite(values).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise DataError(
            f"features of {len(bad)} of {len(values)} {split} images are not finite, the first of image "
            f"{int(places[bad[0]])}: the network has diverged"
        )
