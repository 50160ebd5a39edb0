"""Alignment of positive pairs: two views of an image, or two images of a class."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.alignment_uniformity import alignment
from sslkit.functional.resize import resize_crop
from sslkit.interfaces import Draw, Split, Subject
from sslkit.plugin import DataError
from sslkit_evaluators.analysis.sample import Measured

ASPECT = math.log(4 / 3)
"""Width over height lies between its inverse and itself (torchvision's random resized crop)."""


def aligned_views(subject: Subject, split: Split, only: Tensor, scale: tuple[float, float]) -> float:
    """Mean squared distance of the features, of length 1, of two random views of each of the images `only`."""

    def make(images: Tensor, indices: Tensor) -> Tensor:
        draws = (Draw(subject.seed, 2 * indices + view) for view in (0, 1))
        one, two = (F.normalize(subject.encode(random_view(images, draw, scale)), dim=1) for draw in draws)
        return alignment(one[:, None], two[:, None])

    return float(subject.rows(split, make, only).values.double().mean())


def random_view(images: Tensor, draw: Draw, scale: tuple[float, float]) -> Tensor:
    """A part of each of the images `[B, C, S, S]`, resized to `S` (bilinear, antialiased), half of them mirrored.

    The area is uniform over `scale`, the logarithm of the aspect between 3/4 and 4/3. Parts that would not fit are cut.
    """
    sides = torch.tensor(images.shape[-2:], device=images.device)
    area = draw.uniform(low=scale[0], high=scale[1]) * images.shape[-2] * images.shape[-1]
    aspect = draw.uniform(low=-ASPECT, high=ASPECT).exp()
    wanted = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], dim=1).round().long()
    size = wanted.clamp(min=1).minimum(sides)
    room = sides - size
    start = (draw.uniform(2) * (room + 1)).long().minimum(room)
    cut = resize_crop(
        images, torch.cat([start, size], dim=1), (images.shape[-2], images.shape[-1]), "bilinear"
    )
    return torch.where(draw.chance(0.5)[:, None, None, None], cut.flip(-1), cut)


def aligned_classes(measured: Measured, seed: int) -> float:
    """Mean squared distance of each image to a random other one of its class.

    Raises:
        DataError: there are no labels, or no class has two images.
    """
    reason = without_pairs(measured.labels)
    if reason is not None or measured.labels is None:
        raise DataError(reason)
    one, two = class_pairs(measured.labels.cpu(), seed)
    unit = measured.unit.double()
    return float(alignment(unit[one.to(unit.device)], unit[two.to(unit.device)]))


def without_pairs(labels: Tensor | None) -> str | None:
    """Why images with these labels `[N]` make no pairs of a class; None where they make some."""
    if labels is None:
        return "`positives: classes` needs labels; use `views` or `none`"
    if not bool((labels.bincount() > 1).any()):
        return "`positives: classes` needs a class with two images; use `views` or `none`"
    return None


def class_pairs(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of images, and of the next one in a random circle through the class of each; lone ones are left out."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = shuffled[labels[shuffled].sort(stable=True).indices]
    count = labels.bincount()
    first = (count.cumsum(0) - count)[labels[order]]
    size = count[labels[order]]
    following = first + (torch.arange(len(order)) - first + 1) % size
    several = size > 1
    return order[several], order[following[several]]
