"""Balancers: how several losses become one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Balancer(nn.Module, ABC):
    """Joins K losses. Its parameters, if any, are trained with the rest and without weight decay."""

    @abstractmethod
    def forward(self, losses: Tensor) -> Tensor:
        """The scalar to minimize, from `losses` `[K]` in the order of the objectives."""
