"""Class-balanced choice of a few images to show."""

from __future__ import annotations

import torch
from torch import Tensor


def varied(labels: Tensor | None, count: int, most: int) -> Tensor:
    """At most `most` of the numbers 0 to `count` - 1, evenly spread over the images in order of their labels: int64.

    The order of a source says nothing of classes: folders come one after another, other sources by turns, so that
    neither the first images nor every n-th one need be of several classes.

    Args:
        labels: `[count]` int64; None where there are none, and images are spread in their own order.
        count: how many images there are.
        most: how many are asked for.
    """
    places = torch.arange(count) if labels is None else labels.cpu().argsort(stable=True)
    few = min(most, count)
    return places[torch.arange(few) * count // max(few, 1)]
