"""Regression losses by name."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32

_ELEMENTWISE = {"l2": F.mse_loss, "l1": F.l1_loss}


def regression(guess: Tensor, goal: Tensor, loss: str, beta: float = 1.0) -> Tensor:
    """Error over the last dimension, `[..., dim]`, `[..., dim]` -> `[...]`, in at least float32.

    `l2`, `l1` and `smooth_l1` are means over the dimension; `beta` is where `smooth_l1` turns from squares
    (divided by 2 beta) to absolute values (torch's default: 1; data2vec: 2). `cosine` is 1 minus the cosine of
    the angle between both, which has the gradients of EVA's loss, minus the cosine; 1 where either is 0.
    """
    guess, goal = at_least_float32(guess), at_least_float32(goal)
    if loss == "cosine":
        return 1 - F.cosine_similarity(guess, goal, dim=-1)
    elementwise = partial(F.smooth_l1_loss, beta=beta) if loss == "smooth_l1" else _ELEMENTWISE[loss]
    return elementwise(guess, goal, reduction="none").mean(-1)
