"""Backbones: networks that turn images into tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from sslkit.core.passes import Encode, Request, Tokens
from sslkit.core.problem import Problem
from sslkit.core.view import Grid, Size
from sslkit.errors import SpecError


class Exported(NamedTuple):
    """A backbone outside sslkit: `timm.create_model(architecture, checkpoint_path=FILE, **arguments)`."""

    architecture: str
    arguments: Mapping[str, object]
    state: Mapping[str, Tensor]
    changes: tuple[str, ...] = ()
    """Python statements that change the network `net` before weights are loaded, where no argument can say it."""


class HuggingFaceModel(NamedTuple):
    """A backbone as `transformers.AutoModel.from_pretrained` loads it."""

    config: Mapping[str, object]
    """Of `config.json`, `model_type` and `architectures` among them."""
    state: Mapping[str, Tensor]
    """Of `model.safetensors`."""


class Attentions(NamedTuple):
    """Attention weights of every block. T tokens: those in front, then the patches."""

    grid: Grid
    """Places of the patches."""
    prefix: int
    """Class and register tokens in front of the patches."""
    has_class: bool
    """Whether the first token is a class token."""
    layers: Iterator[Tensor]
    """`[B, heads, T, T]` for each block, queries before keys, rows of sum 1, in at least float32.

    Each is made when it is asked for, and need not be kept.
    """


class Backbone(nn.Module, ABC):
    """A network that answers several requests in one call, so that crops of one size share a batch."""

    dim: int
    """Width of its tokens."""
    depth: int
    """Number of blocks whose output can be asked for."""

    @abstractmethod
    def grid(self, size: Size) -> Grid:
        """Patches of a crop of this `size`, one number where sides are alike. Raises SpecError if it cannot be cut."""

    @abstractmethod
    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        """One answer for each request, in order."""

    def serve(self, passes: Sequence[Encode]) -> None:
        """Called once with the passes that will run as the student, to leave out parameters that none of them uses."""

    def resized(self, state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Sequence[str]]:
        """`state`, of such a network for other sizes, in the sizes of this one; and what was resized, in words.

        A run that begins with the networks of another asks for it, and compares names and shapes. Default: unchanged.
        """
        return state, ()

    def notes(self) -> Sequence[str]:
        """What people who train it should know, in sentences that a run prints at its start. None, the default."""
        return ()

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with training it, by fields of its spec; frozen networks are not asked."""
        return iter(())

    def units(self) -> Sequence[nn.Module]:
        """Parts whose parameters are read in their own `forward` only; `parallel=fsdp` gathers one at a time.

        Nothing may change their answers in place: it would take FSDP2's hooks off them, and the backward could crash.
        Inner parts come before those that hold them. None, the default: the network is gathered as a whole.
        """
        return ()

    def layer_of(self, name: str) -> int:
        """Layer of the parameter `name`, from 0 (the stem) to `depth` + 1 (what follows the blocks).

        `optimizer.layer_decay` asks for it. Raises SpecError where a network does not say, as here.
        """
        raise SpecError(f"{type(self).__name__} does not say which layer its parameters belong to")

    def attentions(self, images: Tensor) -> Attentions:
        """The attention weights of every block for images `[B, C, H, W]`, by the arithmetic of `forward`.

        Raises:
            SpecError: the network does not expose them, as here. Its spec then says so in `tells_attention`.
        """
        raise SpecError(f"{type(self).__name__} does not tell its attention; use a 'vit'")

    @abstractmethod
    def export(self) -> Exported:
        """The network under its timm name, without anything that only pre-training needs."""

    def hugging_face(self) -> HuggingFaceModel:
        """The network in an architecture of transformers.

        Raises:
            SpecError: transformers is not installed, or has no such architecture, as here; the message says which.
        """
        raise SpecError(f"transformers has no such network: it is a {type(self).__name__}")
