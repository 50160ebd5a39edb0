"""Losses by name."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.numeric import at_least_float32

_ELEMENTWISE = {"l2": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}


def regression(guess: Tensor, goal: Tensor, loss: str) -> Tensor:
    """Mean error over the last dimension, `[L, dim]`, `[L, dim]` -> `[L]`, in at least float32.

    `loss` is `l2`, `l1` or `smooth_l1` (beta 1, torch's default).
    """
    elementwise = _ELEMENTWISE[loss]
    return elementwise(at_least_float32(guess), at_least_float32(goal), reduction="none").mean(-1)
