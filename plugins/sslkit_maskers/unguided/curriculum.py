"""Curriculum masking: a masker whose parameter changes over the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast, final

from torch import Tensor, nn

from sslkit.interfaces import Draw, Mask, Masker, Scene
from sslkit.plugin import Shape, eased


@final
class CurriculumSampler(Masker):
    """One masker for each value of a field; on its own it samples as the first of them does.

    `order`: for each level the index of its masker; `shape` and `until`: how the run passes through the levels.
    """

    def __init__(self, maskers: Sequence[Masker], order: Sequence[int], shape: Shape, until: float) -> None:
        super().__init__()
        self.maskers = cast("Sequence[Masker]", nn.ModuleList(maskers))  # a list of plain modules to torch
        self.order, self.shape, self.until = tuple(order), shape, until
        first = maskers[0]
        self.visible, self.most, self.passes = first.visible, first.most, first.passes

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        """Hidden patches at the beginning of the run, `[*rows, N]` bool."""
        return self.maskers[0].sample(draw, scene)

    def at(self, progress: float) -> Masker:
        """The masker of the level nearest to the schedule."""
        way = eased(min(1.0, progress / self.until), self.shape)
        level = math.floor(way * (len(self.order) - 1) + 0.5)
        return self.maskers[self.order[level]].at(progress)

    def stages(self) -> tuple[Masker, ...]:
        """The maskers of all levels, each once."""
        return tuple(stage for masker in self.maskers for stage in masker.stages())

    def observe(self, scene: Scene, mask: Mask, scores: Tensor | None) -> Mapping[str, Tensor]:
        """The rows of the first level; while training, those of the level in force are asked for."""
        return self.maskers[0].observe(scene, mask, scores)

    def commit(self, rows: Mapping[str, Tensor]) -> None:
        """Give every level what was learned at any, so that the next one does not begin anew."""
        for masker in self.maskers:
            masker.commit(rows)
