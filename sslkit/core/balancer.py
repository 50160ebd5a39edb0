"""Loss balancers: several losses joined into one, by weights on losses or on gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from sslkit.core.context import Length
from sslkit.core.random_stream import Draw

Space = Literal["parameters", "features"]
"""Where gradients are compared: on the student's parameters, or on the tokens that objectives read of it."""


class Balancer(nn.Module, ABC):
    """Joins K losses. Its parameters, if any, are trained with the rest and without weight decay."""

    weighs_gradients: bool = False
    """Whether `weigh` decides, from the objectives' gradients on what they share."""
    linear: bool = True
    """Whether `forward` is linear in the losses, a constant aside, so that that of means is the mean of those of parts.

    Where not (a product, a logarithm), all images of a rank reach it at once, however small the micro-batches are.
    """
    space: Space = "parameters"
    """Where it weighs gradients. `features` differentiates each loss to the tokens only, and the student once."""

    def prepare(self, length: Length) -> None:
        """Called once, before the first step or a resumed one, with the length of the run and of its epochs."""

    @abstractmethod
    def forward(self, losses: Tensor) -> Tensor:
        """The scalar to minimize, from `losses` `[K]` in the order of the objectives.

        Where `weighs_gradients` is set it is only reported, and each head is trained on its own loss.
        """

    def factors(self) -> Tensor | None:
        """What `forward` multiplies each loss by now, `[K]`, to be reported; part of the forward, like it.

        None where it cannot be said, or where `weighs_gradients` is set.
        """
        return None

    def weigh(self, gram: Tensor, draw: Draw) -> Tensor:
        """Weight of each objective's gradient, `[K]` float64, from their products `gram` `[K, K]` float64.

        Called where `weighs_gradients` is set, with the same arguments on every rank: balancers never see ranks.
        `draw` has one row and changes from step to step.
        """
        raise AssertionError(f"{type(self).__name__} sets `weighs_gradients` but has no `weigh`")

    def commit(self, losses: Tensor, gram: Tensor | None) -> None:
        """After the optimizer, without autograd: update own buffers, or keep own parameters within bounds.

        Args:
            losses: `[K]`, what `forward` joined, as means over the micro-batches and ranks of the step.
            gram: what `weigh` got in this step; None where gradients are not weighed.
        """
