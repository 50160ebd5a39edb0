"""Objectives: losses on tokens, which declare their passes, crops, twins and schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from sslkit.core.passes import Encode, Output, Pictures, Tokens

Schedule = Callable[[int], float]
"""step -> value."""


class Part(NamedTuple):
    """Something that an objective trained on top of the student and that is of use without the run."""

    view: str
    """The view whose crops the student reads for it."""
    state: Mapping[str, Tensor]
    """Its own weights; those of the student are added."""
    settings: Mapping[str, object]
    """Whatever else a reader needs, in values that JSON can hold."""


class Objective(nn.Module, ABC):
    """A loss. All state is parameters and buffers, so `state_dict` is complete."""

    passes: tuple[Encode, ...]
    """Backbone passes; `forward` receives one `Tokens` for each, in order."""
    crops: Mapping[str, int] = {}
    """Fewest crops that it needs of a view."""
    twins: Mapping[str, str] = {}
    """Online submodule -> its moving-average copy."""
    follows: str = "teacher"
    """The net whose momentum the twins share."""
    compares: bool = False
    """Whether the loss of an image depends on the other images of the batch, other than by a batch norm in it.

    Micro-batches then go through the backbone one by one, and `forward` reads the tokens of all of them at once. Left
    `False`, the loss of a batch must be the mean of the losses of its equal parts.
    """
    schedules: Mapping[str, Schedule] = {}
    """Values that change over the run; `forward` receives them as 0-dim tensors, so they recompile nothing."""

    @abstractmethod
    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The loss. Pure: buffers are read and never written, and nothing is drawn from torch's generator.

        Its numbers depend on ranks and micro-batches; randomness belongs to maskers and augmentations.
        """

    def before_update(self, step: int) -> None:
        """After backward, before the optimizer: adjust own gradients."""

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """After the optimizer, without autograd: update own buffers."""

    def parts(self) -> Mapping[str, Part]:
        """What `sslkit export --part NAME` can write, by name."""
        return {}

    def pictures(self, *tokens: Tokens) -> Mapping[str, Pictures]:
        """Figures by file name, made without autograd from held-out images."""
        return {}
