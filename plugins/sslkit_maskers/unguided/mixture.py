"""Mixture of maskers, one drawn for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import cast, final

import torch
from torch import Tensor, nn

from sslkit.interfaces import Draw, Mask, Masker, Scene
from sslkit.plugin import SpecError


@final
class MixtureSampler(Masker):
    """Every image gets the mask of one of `maskers`, drawn with `weights`."""

    def __init__(self, maskers: Sequence[Masker], weights: Sequence[float]) -> None:
        super().__init__()
        if any(len(masker.stages()) > 1 for masker in maskers):
            raise SpecError(
                "maskers: one of them changes over the run; put the curriculum around the mixture instead, "
                "with a field such as `maskers.0.ratio`"
            )
        self.maskers = cast("Sequence[Masker]", nn.ModuleList(maskers))  # a list of plain modules to torch
        self.bounds = tuple(bound / sum(weights) for bound in accumulate(weights))[:-1]
        counts = {masker.visible for masker in maskers}
        self.visible = counts.pop() if len(counts) == 1 else None
        self.most = max(masker.most for masker in maskers)
        self.passes = tuple(request for masker in maskers for request in masker.passes)

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        toss = draw.uniform()[..., None]
        masks = [masker.sample(draw, inner) for masker, inner in self._members(scene)]
        hidden = masks[0]
        for bound, mask in zip(self.bounds, masks[1:], strict=True):
            hidden = torch.where(toss < bound, hidden, mask)
        return hidden

    def observe(self, scene: Scene, mask: Mask, scores: Tensor | None) -> Mapping[str, Tensor]:
        """The rows of all members, each name after its member's number."""
        return {
            f"{i} {name}": rows
            for i, (masker, inner) in enumerate(self._members(scene))
            for name, rows in masker.observe(inner, mask, scores).items()
        }

    def commit(self, rows: Mapping[str, Tensor]) -> None:
        """Give every member its own rows."""
        for i, masker in enumerate(self.maskers):
            member_rows = {
                name.removeprefix(f"{i} "): x for name, x in rows.items() if name.startswith(f"{i} ")
            }
            if member_rows:
                masker.commit(member_rows)

    def _members(self, scene: Scene) -> list[tuple[Masker, Scene]]:
        """Every masker, and the scene with the answers to its own passes."""
        members, start = [], 0
        for masker in self.maskers:
            end = start + len(masker.passes)
            members.append((masker, scene._replace(tokens=scene.tokens[start:end])))
            start = end
        return members
