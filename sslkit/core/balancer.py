"""Balancers: how several losses become one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from sslkit.core.draw import Draw


class Balancer(nn.Module, ABC):
    """Joins K losses. Its parameters, if any, are trained with the rest and without weight decay."""

    weighs_gradients: bool = False
    """Whether `weigh` decides, from the objectives' gradients on the parameters that they share."""

    @abstractmethod
    def forward(self, losses: Tensor) -> Tensor:
        """The scalar to minimize, from `losses` `[K]` in the order of the objectives.

        Where `weighs_gradients` is set it is only reported, and each head is trained on its own loss.
        """

    def weigh(self, gram: Tensor, draw: Draw) -> Tensor:
        """Weight of each objective's gradient, `[K]` float64, from their products `gram` `[K, K]` float64.

        Called where `weighs_gradients` is set, with the same arguments on every rank: balancers never see ranks.
        `draw` has one row and changes from step to step.
        """
        raise AssertionError(f"{type(self).__name__} sets `weighs_gradients` but has no `weigh`")
