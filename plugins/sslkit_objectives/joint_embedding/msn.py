"""MSN. S anchor crops, B images, D width, K prototypes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.info_nce import unit
from sslkit.functional.joint_embedding_losses import weighted
from sslkit.functional.masked_siamese import msn_terms, sharpened
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.dino_head import Prototypes, perceptron
from sslkit.plugin import Env
from sslkit_objectives.distillation.teacher_entropy import entropy_shares
from sslkit_objectives.sides import Sides
from sslkit_objectives.specs.distillation_parts import Perceptron


class Anchors(NamedTuple):
    """Crops that predict, and the one that is predicted."""

    sides: Sides
    """Of masked anchors and of targets."""
    local: str | None
    """View of anchors that are not masked."""


class Assignment(NamedTuple):
    """How crops are assigned to prototypes."""

    prototypes: int
    temperature: float
    sharpen: float
    iterations: int


@final
class MSNObjective(Objective):
    """Anchors predict the prototypes of a target crop, and together use all of them."""

    compares = True

    def __init__(
        self,
        anchors: Anchors,
        head: Perceptron,
        assignment: Assignment,
        weights: Mapping[str, float],
        env: Env,
    ) -> None:
        super().__init__()
        sides, local = anchors
        self.sides, self.assignment, self.weights = sides, assignment, weights
        self.passes = sides.passes if local is None else (*sides.passes, Encode(local))
        self.crops = {view: 2 // len(sides.views) for view in sides.views}
        if local is not None:
            self.crops = {**self.crops, local: 1}
        widths = [env.net("student").dim, *[head.hidden] * (head.layers - 1), head.bottleneck]
        self.projector = perceptron(widths, batch_norm=True)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.twins, self.follows = {"projector": "target_projector"}, sides.net
        self.prototypes = Prototypes(head.bottleneck, assignment.prototypes, fixed=True)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The weighted sum of the terms; targets give no gradient, to prototypes neither."""
        masked, other, *local = (seen.cls for seen in tokens)
        anchors = masked[:-1] if self.sides.key_view is None else masked
        groups = [rows_of(self.projector, crops) for crops in (anchors, *local)]
        settings = self.assignment
        with torch.no_grad():
            target = unit(rows_of(self.target_projector, other[-1:]))[0]
            goal = sharpened(
                self._cosines(target), settings.temperature, settings.sharpen, settings.iterations
            )
        embeddings = torch.cat(groups)
        terms = msn_terms(self._cosines(unit(embeddings)), goal, settings.temperature)
        with torch.no_grad():
            metrics = {name: value.detach() for name, value in terms.items()}
            metrics |= {"feature_std": feature_std(embeddings), **entropy_shares(goal[None])}
        return Output(weighted(terms, self.weights), metrics)

    def _cosines(self, units: Tensor) -> Tensor:
        with torch.autocast(units.device.type, enabled=False):
            cosines: Tensor = self.prototypes(units)
        return cosines


def rows_of(head: torch.nn.Module, crops_VBD: Tensor) -> Tensor:
    """Crops of one size through a head, whose batch norm they share."""
    out: Tensor = head(crops_VBD.flatten(0, 1))
    return out.reshape(*crops_VBD.shape[:2], -1)
