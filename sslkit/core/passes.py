"""Requests for backbone passes and their answers. Shapes: V crops, B images, N patches, K visible, D width."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

Mode = Literal["drop", "token"]
"""How hidden patches are hidden: left out, or with a mask token in their place."""

Patches = Literal["all", "mean", "none"]
"""Which patch tokens an answer holds. What is not asked for need not be kept where tokens are cached."""


@final
@dataclass(frozen=True)
class Encode:
    """A request for one backbone pass. Equal requests, from any objective, run once."""

    view: str
    """A named group of crops of one size."""
    net: str = "student"
    """Or a name under `nets`; only the student gets gradients."""
    mask: Hashable | None = None
    """The spec of a masker. Equal ones on one view share one sampled mask."""
    mode: Mode = "drop"
    """Leave hidden patches out, or put the mask token in their place."""
    patches: Patches = "all"
    """The patch tokens that are wanted: all, their mean `[V, B, 1, D]`, or none `[V, B, 0, D]`."""
    layers: tuple[int, ...] = ()
    """Blocks whose outputs are wanted besides the last, from 0; negative ones count from the end."""
    attention: bool = False
    """Whether the class token's attention in the last block is wanted; only of passes without a mask."""
    salt: str = ""
    """Sets its mask apart from those that equal maskers draw for others."""


class Mask(NamedTuple):
    """Hidden patches, in the forms that a compiled graph needs: every shape is fixed."""

    hidden: Tensor
    """`[V, B, N]` bool."""
    keep: Tensor
    """`[V, B, K]` int64, visible patches in order; K is 0 where the masker's count varies."""
    flat: Tensor
    """`[L]` int64, hidden patches as indices into the flat V x B x N, padded to a fixed L."""
    per_image: Tensor
    """`[L]` int64, hidden patches of the image that the patch belongs to; 0 on padding."""
    blocks: Tensor | None = None
    """`[V, B, M, T]` int64, the patches of each target block, -1 where it has fewer than T. None: one of all hidden."""

    def to(self, device: torch.device) -> Mask:
        """The same on `device`."""
        blocks = None if self.blocks is None else self.blocks.to(device)
        hidden, keep, flat, count = (
            x.to(device) for x in (self.hidden, self.keep, self.flat, self.per_image)
        )
        return Mask(hidden, keep, flat, count, blocks)

    def target_blocks(self) -> Tensor:
        """`blocks`; where there are none, the hidden patches of each image, which must be as many in all, as one."""
        if self.blocks is not None:
            return self.blocks
        rows, patches = self.hidden.shape[:2], self.hidden.shape[-1]
        return (self.flat % patches).view(*rows, 1, -1)

    def of_targets(self) -> Mask:
        """This mask with the patches of target blocks, block by block, as `flat` and `per_image`.

        Patches of several blocks occur in each. Itself where there are no blocks.
        """
        if self.blocks is None:
            return self
        rows, patches = self.hidden.shape[:2], self.hidden.shape[-1]
        start = torch.arange(rows.numel(), device=self.hidden.device).view(*rows, 1, 1) * patches
        real = self.blocks >= 0
        count = real * real.sum((-2, -1), keepdim=True)
        return self._replace(flat=(self.blocks.clamp(min=0) + start).flatten(), per_image=count.flatten())

    def mean(self, scores: Tensor) -> Tensor:
        """Mean over images of the mean over their hidden patches, for `scores` `[L]`."""
        images = self.hidden.shape[0] * self.hidden.shape[1]
        weight = (self.per_image > 0).to(scores.dtype) / self.per_image.clamp(min=1)
        return (scores * weight).sum() / images

    def batch_mean(self, scores: Tensor) -> Tensor:
        """Mean over all hidden patches of the batch, for `scores` `[L]`; 0 where none is hidden.

        An image with more hidden patches weighs more (SimMIM, BEiT). Equal to `mean` where every image hides as many.
        """
        real = (self.per_image > 0).to(scores.dtype)
        return (scores * real).sum() / real.sum().clamp(min=1)

    def pick(self, values: Tensor) -> Tensor:
        """The hidden patches' rows of `values` `[V, B, N, ...]`, as `[L, ...]`."""
        return values.flatten(0, 2)[self.flat]


class Request(NamedTuple):
    """One pass as a backbone receives it."""

    image: Tensor
    """`[V, B, C, H, W]`, normalized."""
    mask: Mask | None
    mode: Mode
    layers: tuple[int, ...]
    attention: bool = False

    def answer(
        self, cls: Tensor, patch: Tensor, layers: tuple[Tensor, ...] = (), attention: Tensor | None = None
    ) -> Tokens:
        """The tokens of this pass, shaped as `Tokens` says."""
        return Tokens(self.image, cls, patch, self.mask, layers, attention)


class Tokens(NamedTuple):
    """The answer to one `Encode`."""

    image: Tensor
    """`[V, B, C, H, W]`, normalized."""
    cls: Tensor
    """`[V, B, D]` class token, or the mean of the patch tokens where the network has none."""
    patch: Tensor
    """`[V, B, N or K, D]`; K visible ones in `drop` mode. One or none where only their mean, or none, was asked for."""
    mask: Mask | None
    layers: tuple[Tensor, ...]
    """The blocks asked for: each `[V, B, 1 + N or K, D]`, class token first, before the final norm."""
    attention: Tensor | None = None
    """`[V, B, heads, N]` float32: attention of the last block's class token to each patch, as far as asked for.

    The class token's attention to itself and to registers is left out and not made up for. Without a class
    token it is the mean over patches as queries.
    """


class Output(NamedTuple):
    """What an objective returns."""

    loss: Tensor
    """Scalar, float32 or wider."""
    metrics: Mapping[str, Tensor] = {}
    """Scalars to record beside the loss."""
    carry: Mapping[str, Tensor] = {}
    """Rows for `commit`; those of micro-batches are joined on the first dimension."""
    scores: Tensor | None = None
    """`[L]` loss of every hidden patch of the objective's first masked pass, for maskers that learn from it."""


class Pictures(NamedTuple):
    """Images for people."""

    columns: tuple[str, ...]
    """Title of each column."""
    images: Tensor
    """`[rows, columns, C, H, W]`, or clips `[rows, columns, C, T, H, W]`; normalized as the view is."""
