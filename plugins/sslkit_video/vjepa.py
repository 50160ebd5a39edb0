"""V-JEPA. V crops, B clips, N patches, L predicted ones, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from sslkit.functional.known_values import known_now
from sslkit.interfaces import Encode, Mask, Objective, Output, Target, Tokens
from sslkit.nn.block_predictor import BlockPredictor
from sslkit.plugin import Env, Grid, MaskerSpec, TargetSpec
from sslkit_video.rope_predictor import RopePredictor


class PredictorSizes(NamedTuple):
    """Of the transformer that predicts."""

    width: int
    depth: int
    heads: int
    positions: Literal["sincos", "rope"]
    mlp_ratio: float
    """Of `rope`."""


@final
class VJEPAObjective(Objective):
    """Scores predictions of the target blocks of each mask, all from one predictor."""

    def __init__(
        self,
        view: str,
        masks: Sequence[MaskerSpec],
        target: TargetSpec,
        predictor: PredictorSizes,
        env: Env,
    ) -> None:
        super().__init__()
        self.target: Target = target.build(env, view)
        self.masks = len(masks)
        self.passes = (*(Encode(view, mask=mask, mode="drop") for mask in masks), *self.target.passes)
        self.crops = {view: 1}
        self.compares = self.target.compares
        self.predictor = _predictor(predictor, env.net("student").dim, env.grid(view), self.target.dim)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The mean over masks of the mean over their predicted patches."""
        seen, more = tokens[: self.masks], tokens[self.masks :]
        with torch.no_grad():
            goal = self.target(seen[0], *more)
        losses: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        for number, one in enumerate(seen):
            assert one.mask is not None, "the system samples a mask for every pass that names a masker"
            mask = shortened(one.mask).of_targets()
            guess, picked = self.predictor(one, mask), mask.pick(goal)
            losses.append(mask.mean(self.target.score(guess, picked)))
            with torch.no_grad():
                parts = self.target.metrics(guess, picked, mask.per_image > 0)
            metrics |= parts if number == 0 else {f"{name}_{number + 1}": x for name, x in parts.items()}
        if len(losses) > 1:
            metrics |= {f"loss_{i + 1}": loss.detach() for i, loss in enumerate(losses)}
        return Output(torch.stack(losses).mean(), metrics)


def shortened(mask: Mask) -> Mask:
    """Without the padding that no target block needs, where values are there to look at: not in a compiled graph."""
    if mask.blocks is None or not known_now(mask.blocks):
        return mask
    longest = int((mask.blocks >= 0).sum(-1).max())
    return mask._replace(blocks=mask.blocks[..., :longest])


def _predictor(sizes: PredictorSizes, width_in: int, grid: Grid, dim: int) -> nn.Module:
    width, depth, heads, positions, mlp_ratio = sizes
    if positions == "rope":
        return RopePredictor(width_in, width, depth, heads, grid, dim, mlp_ratio)
    return BlockPredictor(width_in, width, depth, heads, grid, dim)
