"""Gaussian blur augmentation."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.functional.blur import Edge, gaussian_blur
from sslkit.functional.row_subsets import RowSelection, change_rows, take
from sslkit.interfaces import Augment, Draw


@final
class GaussianBlurAugment(Augment):
    """Blurs some images, each with its own width."""

    def __init__(self, sigma: tuple[float, float], radius: int, edge: Edge, probability: float) -> None:
        self.sigma = sigma
        self.radius = radius
        self.edge = edge
        self.probability = probability

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        selected, sigma = self.drawn(draw)

        def blur(some: Tensor, rows: RowSelection) -> Tensor:
            return gaussian_blur(some, take(sigma, rows), self.radius, self.edge)

        # one by one on a CPU: a product of several matrices may round otherwise than one
        return change_rows(images, selected, blur, at_once=1)

    def drawn(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Which images are blurred, `[B]`, and the standard deviations, `[B]`, in pixels."""
        chance, unit = draw.uniform(2).unbind(-1)
        low, high = self.sigma
        return chance < self.probability, unit * (high - low) + torch.tensor(low, device=draw.device)
