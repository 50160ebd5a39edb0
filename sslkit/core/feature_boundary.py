"""Feature boundary: the student's outputs as leaves for the objectives, so that each loss is differentiated alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from sslkit.core.passes import Tokens


class Cut(NamedTuple):
    """One tensor that objectives read of the student."""

    answer: Tensor
    """The student's output: its backward goes through the student."""
    leaf: Tensor
    """The same values as objectives read them: a backward of a loss ends here, in `leaf.grad`."""


def cut(answers: Sequence[Tokens]) -> tuple[list[Tokens], tuple[Cut, ...]]:
    """`answers` with leaves in place of all that has a gradient, and the places of the cut.

    Cut before answers are shared: who asks for one pass must read one leaf, or gradients would not meet.
    """
    cuts: list[Cut] = []

    def apart(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        cuts.append(Cut(tensor, tensor.detach().requires_grad_()))
        return cuts[-1].leaf

    detached = []
    for tokens in answers:
        attention = None if tokens.attention is None else apart(tokens.attention)
        layers = tuple(apart(layer) for layer in tokens.layers)
        detached.append(
            Tokens(tokens.image, apart(tokens.cls), apart(tokens.patch), tokens.mask, layers, attention)
        )
    return detached, tuple(cuts)
