"""Features of micro-batches gathered into those of the whole batch, detached from their graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from torch import Tensor

from sslkit.core.passes import Encode, Mask, Tokens


def made_by_nets(answers: Sequence[Tokens]) -> list[Tensor]:
    """The tensors of `answers` that networks made, in a fixed order; all are `[V, B, ...]`."""
    tensors: list[Tensor] = []
    for tokens in answers:
        attention = [] if tokens.attention is None else [tokens.attention]
        tensors += [tokens.cls, tokens.patch, *tokens.layers, *attention]
    return tensors


@final
class Gathered:
    """Tensors of the micro-batches of a step, put where they belong in the tensors of the whole batch.

    Each is held once: memory for the whole is taken when the first micro-batch comes.
    """

    def __init__(self) -> None:
        self.whole: list[Tensor] = []
        """`[V, B, ...]` each."""
        self._learns: list[bool] = []

    def add(self, tensors: Sequence[Tensor], rows: slice, images: int) -> None:
        """Put `tensors` `[V, b, ...]`, as many in every micro-batch, to the `rows` of a whole of B = `images`."""
        if not self.whole:
            self.whole = [t.new_empty(t.shape[0], images, *t.shape[2:]) for t in tensors]
            self._learns = [t.requires_grad for t in tensors]
        for whole, part in zip(self.whole, tensors, strict=True):
            whole[:, rows] = part.detach()

    def leaves(self) -> list[Tensor]:
        """Those of `whole` that had a gradient, from now on with one of their own, in order."""
        return [t.requires_grad_() for t, learns in zip(self.whole, self._learns, strict=True) if learns]


def rebuilt(
    runs: Sequence[Encode],
    tensors: Sequence[Tensor],
    images: Mapping[str, Tensor],
    masks: Sequence[Mask | None],
) -> list[Tokens]:
    """The answers to `runs`, of `tensors` in the order of `made_by_nets` and of `masks`, one for each run."""
    rest = iter(tensors)
    answers = []
    for run, mask in zip(runs, masks, strict=True):
        cls, patch = next(rest), next(rest)
        layers = tuple(next(rest) for _ in run.layers)
        attention = next(rest) if run.attention else None
        answers.append(Tokens(images[run.view], cls, patch, mask, layers, attention))
    return answers


def rows_of(images: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    """The `rows` of crops `[V, B, C, H, W]`, laid out as a batch of their own is."""
    return {name: crops[:, rows].contiguous() for name, crops in images.items()}
