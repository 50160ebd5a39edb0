"""PCGrad as a function of a Gram matrix: what a balancer that weighs gradients needs of the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from sslkit.core.balancer import Balancer
from sslkit.core.random_stream import Draw


def project(gram: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Weights of the sum of projected gradients (Yu et al. 2020), where gradient i visits the others in `orders[i]`."""
    total = gram.new_zeros(len(gram))
    for i, order in enumerate(orders):
        weights = torch.nn.functional.one_hot(torch.tensor(i), len(gram)).to(gram.dtype)
        for j in order:
            clash = (gram[j] @ weights).clamp(max=0)
            if j != i:
                weights = (
                    weights - torch.nn.functional.one_hot(torch.tensor(j), len(gram)) * clash / gram[j, j]
                )
        total = total + weights
    return total


@final
class Projecting(Balancer):
    """PCGrad with an order drawn at each step."""

    weighs_gradients = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, losses: Tensor) -> Tensor:
        return losses.sum()

    def weigh(self, gram: Tensor, draw: Draw) -> Tensor:
        self.seen.append(gram)
        return project(gram, [draw.permutation(len(gram))[0].tolist() for _ in gram])
