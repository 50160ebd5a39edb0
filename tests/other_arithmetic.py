"""The arithmetic of another processor: every product of the networks is off by one unit in its last place.

`pytest -p tests.other_arithmetic` runs the suite with it. What fails then holds for the bits of the machine at hand: a
threshold that it just meets, an order of sums. Equal products stay equal, so that all that is promised to the last bit
still is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def nudged(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function`, whose answers are the next larger number in about half of their places, as the bits there tell."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Tensor:
        exact = function(*args, **options)
        if not exact.is_floating_point() or exact.is_meta:
            return exact
        step = torch.finfo(exact.dtype).eps
        up = (exact.detach() * 977).frac().abs() < 0.5
        return exact * torch.where(up, 1 + step, 1.0).to(exact.dtype)

    return call


for name in ("linear", "conv2d"):
    setattr(F, name, nudged(getattr(F, name)))
