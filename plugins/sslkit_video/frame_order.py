"""Clips in other orders, and telling which. V crops, B videos, T frames, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.feature_std import feature_std
from sslkit.functional.precision import at_least_float32
from sslkit.interfaces import Augment, Draw, Encode, Objective, Output, Tokens
from sslkit.plugin import Env


@final
class ReorderAugment(Augment):
    """Puts the frames of every clip in one order."""

    def __init__(self, order: Sequence[int] | None) -> None:
        """`order` of equal parts; None for all frames backwards."""
        self.order = order

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, T, H, W]` -> the same shape."""
        if self.order is None:
            return images.flip(2)
        parts = images.chunk(len(self.order), dim=2)
        return torch.cat([parts[place] for place in self.order], dim=2)


@final
class OrderObjective(Objective):
    """A linear classifier of a crop's place in its view, on the class token."""

    labels: Tensor

    def __init__(self, view: str, orders: int, env: Env) -> None:
        super().__init__()
        self.passes = (Encode(view),)
        self.crops = {view: orders}
        self.head = nn.Linear(env.net("student").dim, orders)
        self.register_buffer("labels", torch.arange(orders), persistent=False)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """Cross-entropy, mean over crops and videos."""
        (seen,) = tokens
        logits = at_least_float32(self.head(seen.cls)).transpose(1, 2)  # [V, orders, B], classes second
        labels = self.labels[:, None].expand(-1, logits.shape[2])
        accuracy = (logits.detach().argmax(1) == labels).to(logits.dtype).mean()
        return Output(
            F.cross_entropy(logits, labels), {"accuracy": accuracy, "feature_std": feature_std(seen.cls)}
        )
