"""RotNet. V crops, B images, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.feature_std import feature_std
from sslkit.functional.precision import at_least_float32
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.plugin import Env

TURNS = 4


@final
class RotationObjective(Objective):
    """A linear classifier of quarter turns on the class token."""

    labels: Tensor

    def __init__(self, view: str, turns: Sequence[int], env: Env) -> None:
        super().__init__()
        self.passes = (Encode(view),)
        self.crops = {view: len(turns)}
        self.head = nn.Linear(env.net("student").dim, TURNS)
        self.register_buffer("labels", torch.tensor(turns), persistent=False)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """Cross-entropy, mean over crops and images."""
        (seen,) = tokens
        logits = at_least_float32(self.head(seen.cls)).transpose(1, 2)  # [V, 4, B], classes second
        labels = self.labels[:, None].expand(-1, logits.shape[2])
        metrics = {
            "accuracy": (logits.detach().argmax(1) == labels).to(logits.dtype).mean(),
            # of all turns together: they may well be all that tells features apart
            "feature_std": feature_std(seen.cls.flatten(0, 1)),
        }
        return Output(F.cross_entropy(logits, labels), metrics)
