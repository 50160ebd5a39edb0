"""Maskers: samplers of hidden patches, and the `Mask` of what they sample."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sslkit.core.passes import Encode, Mask, Tokens
from sslkit.core.random_stream import Draw


class Scene(NamedTuple):
    """Input of a masker."""

    image: Tensor
    """`[V, B, C, H, W]`, the crops to be masked, normalized."""
    tokens: tuple[Tokens, ...] = ()
    """The answers to the masker's `passes`, in order."""


class Masker(nn.Module, ABC):
    """A sampler of hidden patches. What it learns from the data is in buffers, so `state_dict` is complete."""

    visible: int | None
    """Patches left visible in every image; None if that varies. `drop` mode needs a number."""
    most: int
    """Most patches ever hidden in an image; fixes the shapes that a compiled graph sees."""
    block_shape: tuple[int, int] | None = None
    """Target blocks of an image, and most patches of one; None where all hidden patches are predicted as one."""
    passes: tuple[Encode, ...] = ()
    """Passes without a mask that it reads, such as a teacher's; they run first, without gradients."""
    label: str = ""
    """What tells this stage of a masker that changes from the others, such as `ratio 0.5`."""

    @abstractmethod
    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        """Hidden patches of each row of `draw`, `[*rows, N]` bool.

        All randomness comes from `draw`; an image's mask depends on its own row and picture only.
        """

    def sample_blocks(self, draw: Draw, scene: Scene) -> tuple[Tensor, Tensor | None]:
        """What `sample` gives, and target blocks `[*rows, M, T]` int64 as `block_shape` says, padded with -1."""
        return self.sample(draw, scene), None

    def at(self, progress: float) -> Masker:
        """The masker in force after this share of the run, 0 to below 1."""
        return self

    def stages(self) -> tuple[Masker, ...]:
        """Every masker that `at` ever gives; each may make a graph of its own."""
        return (self,)

    def observe(self, scene: Scene, mask: Mask, scores: Tensor | None) -> Mapping[str, Tensor]:
        """Rows to learn from, after the forward; without autograd.

        `scores` `[L]` are the losses of the hidden patches `mask.flat`; None where no objective tells them.
        Rows of micro-batches and ranks are joined on the first dimension before `commit` sees them.
        """
        return {}

    def commit(self, rows: Mapping[str, Tensor]) -> None:
        """After the optimizer, without autograd: update own buffers. Called only where `observe` gave rows."""


def make_mask(masker: Masker, draw: Draw, scene: Scene) -> Mask:
    """Sample a `Mask` for the `[V, B]` images of `draw`."""
    hidden, blocks = masker.sample_blocks(draw, scene)
    return mask_of(hidden, masker.visible, masker.most, blocks)


def broken_promise(masker: Masker, hidden: Tensor, expected: tuple[int, ...]) -> str | None:
    """What of a sample is not as its masker promises; None where all is. Waits for the device.

    `expected` is the shape, `[*rows, N]`.
    """
    if hidden.dtype != torch.bool or hidden.shape != expected:
        return f"`sample` gives {hidden.dtype} {tuple(hidden.shape)}, expected bool {expected}"
    count = hidden.sum(-1)
    low, high, patches = int(count.min()), int(count.max()), expected[-1]
    if not high <= masker.most <= patches:
        return f"hides {high} patches of {patches}, but `most` says {masker.most}"
    if masker.visible is None:
        return None
    fixed = patches - masker.visible
    if not low == high == fixed:
        return f"hides {low} to {high} patches, but `visible` {masker.visible} says {fixed}"
    return (
        None
        if masker.most == fixed
        else f"`most` is {masker.most}, but with a fixed count it must be {fixed}"
    )


def broken_blocks(masker: Masker, blocks: Tensor | None, rows: torch.Size) -> str | None:
    """What of the target blocks of a sample is not as `block_shape` promises; None where all is."""
    expected = None if masker.block_shape is None else [*rows, *masker.block_shape]
    shape = None if blocks is None else list(blocks.shape)
    if shape == expected:
        return None
    return f"`sample_blocks` gives blocks of {shape}, but `block_shape` {masker.block_shape} says {expected}"


def mask_of(hidden: Tensor, visible: int | None, most: int, blocks: Tensor | None = None) -> Mask:
    """The forms of the hidden patches `[V, B, N]`, of shapes that the masker's counts fix, without a device sync."""
    keep = torch.sort(hidden.to(torch.int8), dim=-1, stable=True).indices[..., : visible or 0]
    flat = hidden.flatten()
    length = math.prod(hidden.shape[:-1]) * most
    if visible is None:
        index = torch.sort((~flat).to(torch.int8), stable=True).indices[:length]
    else:
        index = _hidden_of_equal_counts(hidden, most)
    count = (flat * hidden.sum(-1, keepdim=True).expand_as(hidden).flatten())[index]
    return Mask(hidden, keep, index, count, blocks)


def _hidden_of_equal_counts(hidden: Tensor, count: int) -> Tensor:
    """Flat indices of the hidden patches where every image hides `count`."""
    total = hidden.shape[-1]
    order = torch.sort((~hidden).to(torch.int8), dim=-1, stable=True).indices[..., :count]
    start = (
        torch.arange(math.prod(hidden.shape[:-1]), device=hidden.device).reshape(*hidden.shape[:-1], 1)
        * total
    )
    return (order + start).flatten()
