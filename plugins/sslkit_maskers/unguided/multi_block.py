"""Multi-block masking, as in I-JEPA. M target blocks of T patches, A attempts, R rows and C columns of patches."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

from sslkit.interfaces import Draw, Masker, Scene
from sslkit.plugin import Grid
from sslkit_maskers.block_sizes import Size
from sslkit_maskers.unguided.block import Box, painted
from sslkit_maskers.unguided.random import highest

ATTEMPTS = 8
"""Layouts drawn for each image, before its target blocks are put on top of each other."""


class Layout(NamedTuple):
    """What is drawn of an image."""

    targets: tuple[Size, ...]
    """Sizes of target blocks, one of which holds for all images of a step."""
    contexts: tuple[Size, ...]
    """The same of the context block."""
    number: int
    """Target blocks M."""
    edges: bool
    """Whether blocks reach the last row and column."""
    scatter: bool
    """Leave out patches of the context at random, not from its end."""
    joined: bool = False
    """Give all target blocks as one."""
    moments: int = 1
    """Of a clip: blocks lie at the same places in each."""


@final
class MultiBlockSampler(Masker):
    """Target blocks of one size, and as context a fixed number of patches of a large block outside of them."""

    def __init__(self, grid: Grid, visible: int, layout: Layout) -> None:
        super().__init__()
        self.grid, self.layout = grid, layout
        moments = layout.moments
        self.visible: int | None = visible * moments
        self.most = (grid.patches - visible) * moments
        self.largest = max(size.area for size in layout.targets)
        self.block_shape = (layout.number, self.largest * moments)
        if layout.joined:
            self.block_shape = (1, min(layout.number * self.largest, grid.patches - visible) * moments)

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return self.sample_blocks(draw, scene)[0]

    def sample_blocks(self, draw: Draw, scene: Scene) -> tuple[Tensor, Tensor]:
        layout = self.layout
        target = layout.targets[int(draw.shared() * len(layout.targets))]
        context = layout.contexts[int(draw.shared() * len(layout.contexts))]
        targets = together(self._boxes(draw, target, layout.number))  # [*rows, A + 1, M]
        contexts = together(self._boxes(draw, context, 1))
        rows, cols = self.grid.rows, self.grid.cols
        free = painted(contexts, rows, cols).squeeze(-3) & ~painted(targets, rows, cols).any(-3)
        free = free.flatten(-2)  # [*rows, A + 1, N]
        enough = free.sum(-1) >= self._shown
        first = enough.to(torch.int8).argmax(-1)[..., None]  # the last layout always leaves enough
        shown = self._cut(
            draw, free.gather(-2, first[..., None].expand(*first.shape, free.shape[-1])).squeeze(-2)
        )
        places = [
            part.gather(-2, first[..., None].expand(*first.shape, layout.number)).squeeze(-2)
            for part in targets[:2]
        ]
        blocks = self._patches(places[0], places[1], target)
        if layout.joined:
            blocks = self._joined(blocks)
        if layout.moments == 1:
            return ~shown, blocks
        hidden = (~shown).unsqueeze(-2).expand(*shown.shape[:-1], layout.moments, -1).flatten(-2)
        return hidden, self._at_all_moments(blocks)

    @property
    def _shown(self) -> int:
        """Patches of one moment that the encoder sees."""
        return self.grid.patches - self.most // self.layout.moments

    def _joined(self, blocks: Tensor) -> Tensor:
        """The patches of all blocks `[*rows, M, T]`, each once, in order: `[*rows, 1, T']`, -1 at the end."""
        patches = self.grid.patches
        some = blocks.flatten(-2)
        padded = torch.where(some < 0, patches, some)
        counts = torch.zeros(*some.shape[:-1], patches + 1, dtype=torch.int8, device=some.device)
        taken = counts.scatter(-1, padded, 1)[..., :-1] > 0
        length = self.block_shape[1] // self.layout.moments if self.block_shape else patches
        order = torch.sort((~taken).to(torch.int8), dim=-1, stable=True).indices[..., :length]
        return order.masked_fill(~taken.gather(-1, order), -1).unsqueeze(-2)

    def _at_all_moments(self, blocks: Tensor) -> Tensor:
        """`[*rows, M, T]` of one moment -> `[*rows, M, moments * T]`, moment by moment, with -1 at the end."""
        start = torch.arange(self.layout.moments, device=blocks.device) * self.grid.patches
        every = torch.where(blocks[..., None, :] < 0, -1, blocks[..., None, :] + start[:, None]).flatten(-2)
        order = torch.sort((every < 0).to(torch.int8), dim=-1, stable=True).indices
        return every.gather(-1, order)

    def _boxes(self, draw: Draw, size: Size, count: int) -> Box:
        """Places of `count` blocks in each attempt, `[*rows, A, count]`; float64, so that devices round alike."""
        y, x = draw.uniform(2, ATTEMPTS, count).double().unbind(-3)
        room = int(self.layout.edges)
        top = (y * (self.grid.rows - size.height + room)).long()
        left = (x * (self.grid.cols - size.width + room)).long()
        return Box(top, left, torch.full_like(top, size.height), torch.full_like(left, size.width))

    def _cut(self, draw: Draw, free: Tensor) -> Tensor:
        """As many of the patches `free` `[*rows, N]` as the encoder sees."""
        count = self._shown
        if self.layout.scatter:
            return highest(draw.uniform(self.grid.patches) + free, count)
        return free & (free.cumsum(-1) <= count)

    def _patches(self, top: Tensor, left: Tensor, size: Size) -> Tensor:
        """The patches of blocks at `[*rows, M]`, as `[*rows, M, T]`, row by row, -1 behind those of small blocks."""
        down = torch.arange(size.height, device=top.device) + top[..., None]
        right = torch.arange(size.width, device=top.device) + left[..., None]
        patches = (down[..., :, None] * self.grid.cols + right[..., None, :]).flatten(-2)
        return F.pad(patches, (0, self.largest - size.area), value=-1)


def together(boxes: Box) -> Box:
    """The attempts `[*rows, A, M]`, and a last one whose blocks all lie where the very first one does."""
    return Box(*(torch.cat([x, x[..., :1, :1].expand_as(x[..., :1, :])], dim=-2) for x in boxes))
