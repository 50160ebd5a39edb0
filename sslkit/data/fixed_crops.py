"""Crops without random changes, for evaluation and figures: the center of images, or what a transform makes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.core.augment import as_stored, to_float
from sslkit.core.view import View
from sslkit.data.crops import Samples
from sslkit.functional.pixel_normalization import normalized
from sslkit.functional.resize import resize_center
from sslkit.runtime import seeds


def fixed_crops(samples: Samples, view: View, share: float = 1.0) -> Tensor:
    """`[B, *shape]` of B samples of the stream of `view`, in the type that crops travel in.

    `share`: that of the shorter side of an image that its center keeps. A transform draws alike for all samples.
    """
    if view.transform is not None:
        return view.transform.fixed(
            list(samples), seeds.draw(0, "fixed", rows=torch.zeros(len(samples)).long())
        )
    if isinstance(samples, Tensor):
        return as_stored(resize_center(to_float(samples), view.sides, share), samples)
    return _joined([fixed_crops(sample[None], view, share)[0] for sample in samples])


def as_input(crops: Tensor, view: View) -> Tensor:
    """`crops` as a network reads them: normalized; symbols as they are."""
    return crops if view.symbols else normalized(to_float(crops), view.mean, view.std, len(view.sides))


def _joined(crops: Sequence[Tensor]) -> Tensor:
    """One tensor of crops, in a type that holds them all."""
    if len({crop.dtype for crop in crops}) > 1:
        crops = [to_float(crop) for crop in crops]
    return torch.stack(list(crops))
