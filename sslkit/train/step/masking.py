"""Mask sampling, and the updates of maskers that learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn

from sslkit.build.maskers import mask_key, masker_spec
from sslkit.core.masker import Masker, Scene, broken_blocks, broken_promise, mask_of
from sslkit.core.passes import Encode, Mask, Tokens
from sslkit.data.loaders import Batch
from sslkit.errors import PluginError
from sslkit.runtime import seeds

Answers = Mapping[Encode, Tokens]
"""Unmasked passes that ran before the masks were drawn."""
Observations = Sequence[Mapping[str, Tensor]]
"""What every masker observed in one micro-batch."""


@final
class Masking(nn.Module):
    """The maskers of a plan. Passes with equal maskers on one view share one masker and one mask."""

    def __init__(self, plan: Sequence[Encode], maskers: Mapping[int, Masker], seed: int) -> None:
        super().__init__()
        self.plan, self.maskers, self.seed = tuple(plan), dict(maskers), seed
        self._first = {mask_key(plan[i]): i for i in sorted(maskers, reverse=True)}
        self._each = nn.ModuleList(maskers[i] for i in self._first.values())
        self._looked_at: set[tuple[int, str, int | None, int]] = set()
        per_stage = [stage.passes for masker in maskers.values() for stage in masker.stages()]
        self.guides = tuple(dict.fromkeys(request for passes in per_stage for request in passes))
        """The passes that any masker reads."""

    def sample(self, batch: Batch, answers: Answers, step: int, progress: float) -> list[Mask | None]:
        """One mask for each pass of the plan. `progress`: share of the run that is done."""
        masks = {}
        for name, i in self._first.items():
            view, masker = self.plan[i].view, self.maskers[i].at(progress)
            draw = seeds.draw(self.seed, step, "mask", name, rows=_rows(batch, view))
            image = batch.images[view]
            hidden, blocks = masker.sample_blocks(draw, _scene(masker, image.to(draw.device), answers))
            self._require_promised(masker, hidden, blocks, i, draw.rows.shape)
            mask = mask_of(hidden, masker.visible, masker.most, blocks)
            masks[name] = mask.to(image.device)  # drawn where the rows are
        return [None if request.mask is None else masks[mask_key(request)] for request in self.plan]

    def _require_promised(
        self, masker: Masker, hidden: Tensor, blocks: Tensor | None, place: int, rows: torch.Size
    ) -> None:
        """Once for each stage of a masker: wrong counts would train on other patches in silence."""
        stage = (place, masker.label, masker.visible, masker.most)
        if stage in self._looked_at:
            return
        patches = hidden.shape[-1] if masker.visible is None else masker.visible + masker.most
        broken = broken_promise(masker, hidden, (*rows, patches)) or broken_blocks(masker, blocks, rows)
        if broken:
            kind = masker_spec(self.plan[place]).kind_name()
            raise PluginError(
                f"masker {kind!r}: {broken}. `sslkit plugins check` looks at all that it promises"
            )
        self._looked_at.add(stage)

    def joined(self, parts: Sequence[Sequence[Mask | None]], progress: float) -> list[Mask | None]:
        """The masks of the whole batch, one for each pass of the plan, from those of its micro-batches in order."""
        masks = {}
        for name, i in self._first.items():
            masker = self.maskers[i].at(progress)
            drawn = [mask for mask in (part[i] for part in parts) if mask is not None]
            hidden = torch.cat([mask.hidden for mask in drawn], dim=1)
            blocks = [mask.blocks for mask in drawn if mask.blocks is not None]
            joined = torch.cat(blocks, dim=1) if blocks else None
            masks[name] = mask_of(hidden, masker.visible, masker.most, joined)
        return [None if request.mask is None else masks[mask_key(request)] for request in self.plan]

    @torch.no_grad()
    def observe(
        self,
        batch: Batch,
        answers: Answers,
        masks: Sequence[Mask | None],
        losses: Mapping[int, Tensor],
        progress: float,
    ) -> Observations:
        """What every masker learns from. `losses`: pass -> losses of its hidden patches."""
        scores = {mask_key(self.plan[i]): values for i, values in losses.items()}
        rows = []
        for name, i in self._first.items():
            mask, masker = masks[i], self.maskers[i].at(progress)
            assert mask is not None, "this pass has a masker"
            scene = _scene(masker, batch.images[self.plan[i].view], answers)
            rows.append(masker.observe(scene, mask, scores.get(name)))
        return rows

    @torch.no_grad()
    def commit(self, rows: Sequence[Observations], gather: Callable[[Tensor], Tensor]) -> None:
        """Give every masker what it observed in the micro-batches of a step, on all ranks."""
        for i, observed in zip(self._first.values(), zip(*rows, strict=True), strict=True):
            if observed[0]:
                self.maskers[i].commit(
                    {key: gather(torch.cat([part[key] for part in observed])) for key in observed[0]}
                )


def _scene(masker: Masker, image: Tensor, answers: Answers) -> Scene:
    return Scene(image, tuple(answers[request] for request in masker.passes))


def _rows(batch: Batch, view: str) -> Tensor:
    """Identity of every image of `view`, `[V, B]`."""
    views = batch.images[view].shape[0]
    return batch.rows * views + torch.arange(views, device=batch.rows.device)[:, None]
