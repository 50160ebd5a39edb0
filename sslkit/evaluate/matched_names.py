"""Numbers of two sources that stand for the same names, in whatever order each source counts them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.errors import DataError


def matched_by_name(numbers: Tensor, names: Sequence[str], wanted: Sequence[str], what: str) -> Tensor:
    """Numbers of test images as the training images count them, by name; where either has no names, as they are.

    Args:
        numbers: `[N]` int64, places in `names`, or -1, which stays.
        names: what the numbers stand for; empty where nothing is known.
        wanted: the names of the training images.
        what: what the numbers are of, for messages, such as "attribute 'scanner'".

    Returns:
        `[N]` int64, places in `wanted`.

    Raises:
        DataError: one stands for a name that is not in `wanted`.
    """
    if not names or not wanted or tuple(names) == tuple(wanted):
        return numbers
    places = {name: place for place, name in enumerate(wanted)}
    table = torch.tensor([places.get(name, -2) for name in names] + [-1], device=numbers.device)
    counted = table[numbers]
    strange = numbers[counted == -2]
    if len(strange):
        raise DataError(
            f"{what} is {names[int(strange[0])]!r} in test images, which no training image has; those have "
            f"{', '.join(wanted[:5])}{', ...' if len(wanted) > 5 else ''}"
        )
    return counted
