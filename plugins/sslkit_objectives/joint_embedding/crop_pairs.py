"""Agreement between crops. V crops, B images, D width of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.functional.info_nce import unit


def agreement(predictions_VBD: Tensor, goals_VBD: Tensor) -> Tensor:
    """Mean cosine of the prediction from a crop and the goal of another crop of the image; at least float32.

    Every crop predicts every other one, and all pairs weigh the same.
    """
    p, goals = unit(predictions_VBD), unit(goals_VBD)
    cosines = [(p * goals.roll(shift, 0)).sum(-1).mean() for shift in range(1, len(p))]
    return torch.stack(cosines).mean()
