"""Terms of masked Siamese networks (MSN). S anchor crops, B images, K prototypes; scalars in at least float32."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslkit.functional.all_gather import all_rows
from sslkit.functional.distillation_losses import cross_entropy
from sslkit.functional.precision import at_least_float32
from sslkit.functional.sinkhorn import sinkhorn


@torch.no_grad()
def sharpened(cosines_BK: Tensor, temperature: float, sharpen: float, iterations: int) -> Tensor:
    """What anchors predict: softmax(cosines / temperature) to the power of 1 / `sharpen`, then Sinkhorn-Knopp.

    Sinkhorn-Knopp scales these probabilities, not their exponentials, over the rows of all ranks (MSN `losses.py`).

    Args:
        cosines_BK: of target crops with prototypes.
        temperature: that of anchors too.
        sharpen: T; 1 leaves probabilities as they are.
        iterations: rounds of Sinkhorn-Knopp; 0 for none.

    Returns:
        `[B, K]`; each row sums to 1.
    """
    logs = (at_least_float32(cosines_BK) / (temperature * sharpen)).log_softmax(-1)
    return sinkhorn(logs, 1.0, iterations) if iterations else logs.exp()


def msn_terms(cosines_SBK: Tensor, goal_BK: Tensor, temperature: float) -> dict[str, Tensor]:
    """MSN's terms by name.

    `prediction`: cross-entropy of anchors with their image's goal, mean over crops and images. `me_max`: ln K less the
    entropy of the mean prediction of all anchors of all ranks, at least 0. `entropy`: mean entropy of predictions.
    """
    scores = at_least_float32(cosines_SBK) / temperature
    probabilities = scores.softmax(-1)
    used = all_rows(probabilities.mean((0, 1))[None]).mean(0)
    return {
        "prediction": cross_entropy(scores, goal_BK.to(scores.dtype)).mean(),
        "me_max": math.log(len(used)) - torch.special.entr(used).sum(),
        "entropy": torch.special.entr(probabilities).sum(-1).mean(),
    }
