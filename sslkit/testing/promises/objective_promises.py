"""Conformance checks of objectives, besides those by training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import final

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.core.objective import Objective
from sslkit.core.passes import Output, Pictures, Tokens
from sslkit.functional.submodules import submodules
from sslkit.specs.families import ObjectiveSpec
from sslkit.testing.kit_report import Checks, NotOffered, require
from sslkit.testing.promises.purity import called_purely, part_of, undropped
from sslkit.testing.promises.training_promises import Trial
from sslkit.testing.tiny_run import BATCH, CHANNELS, stage

SLACK = 1e-4
"""Relative float error that is let pass between the loss of a batch and the mean of those of its halves."""


@final
class Forward:
    """An objective, or the terms of a hybrid, with the answers to their passes."""

    def __init__(self, spec: ObjectiveSpec) -> None:
        self.spec = spec

    @cached_property
    def trial(self) -> Trial:
        """The run before its first step."""
        return Trial(stage(objectives={"check": self.spec}))

    @cached_property
    def _tokens(self) -> dict[int, Tokens]:
        with torch.no_grad():
            return self.trial.composed.step.encode(self.trial.batch(), 0)

    def terms(self) -> Iterator[tuple[str, Objective, list[Tokens]]]:
        """Name, module and tokens of each."""
        for name, objective in self.trial.composed.step.objectives.items():
            yield name, objective, self.trial.system.objective_tokens(name, self._tokens)

    def loss(self, name: str, objective: Objective, tokens: list[Tokens]) -> Output:
        """What `forward` returns at the first step."""
        schedules = self.trial.system.schedules[name]
        output: Output = objective({key: torch.tensor(at(0)) for key, at in schedules.items()}, *tokens)
        return output


def checks(spec: ObjectiveSpec) -> Checks:
    """The checks of what it gives for one batch."""
    forward = Forward(spec)
    return {
        "its forward only reads": partial(_pure, forward),
        "the loss of a batch is the mean of those of its parts": partial(_additive, forward),
        "makes pictures of images": partial(_pictures, forward),
        "its parts can be exported": partial(_parts, forward),
    }


def _pure(forward: Forward) -> None:
    for name, objective, tokens in forward.terms():
        loss = partial(forward.loss, name, objective, tokens)
        first = called_purely(objective, loss, "`forward`")
        second = called_purely(objective, loss, "`forward`")
        require(
            torch.equal(first.loss, second.loss),
            f"`forward` gives {first.loss.item():.6g}, and {second.loss.item():.6g} for the same tokens; it may keep "
            "nothing and draw nothing",
        )


def _additive(forward: Forward) -> None:
    """Where an image's loss does not depend on others, as the objective says."""
    halves = (slice(BATCH // 2), slice(BATCH // 2, None))
    apart = [term for term in forward.terms() if not (term[1].compares or _norms(term[1]))]
    if not apart:
        raise NotOffered("compares images")
    for name, objective, tokens in apart:
        with undropped(objective), torch.no_grad():
            whole = forward.loss(name, objective, tokens).loss
            parts = [
                forward.loss(name, objective, [part_of(one, part) for one in tokens]).loss for part in halves
            ]
        mean = torch.stack(parts).mean()
        require(
            torch.allclose(whole, mean, rtol=SLACK, atol=1e-6),
            f"the loss of {BATCH} images is {whole.item():.6g}, the mean of those of its halves {mean.item():.6g}; set "
            "`compares = True` where an image's loss depends on the others, or take means over images",
        )


def _norms(objective: Objective) -> bool:
    return any(True for _ in submodules(objective, _BatchNorm))


def _in_evaluation(objective: Objective, tokens: list[Tokens]) -> Mapping[str, Pictures]:
    objective.eval()
    try:
        return objective.pictures(*tokens)
    finally:
        objective.train()


@torch.no_grad()
def _pictures(forward: Forward) -> None:
    pictures = {
        name: one
        for _, objective, tokens in forward.terms()
        for name, one in _in_evaluation(objective, tokens).items()
    }
    for name, one in pictures.items():
        shape, expected = tuple(one.images.shape), (len(one.columns), CHANNELS)
        require(
            len(shape) == 5 and shape[1:3] == expected,
            f"picture {name!r} is {shape}, expected (rows, {expected[0]} columns, {CHANNELS}, H, W)",
        )
        require(bool(one.images.isfinite().all()), f"picture {name!r} is not finite")


def _parts(forward: Forward) -> None:
    views = forward.trial.composed.env.views
    for _, objective, _ in forward.terms():
        for name, part in objective.parts().items():
            require(
                part.view in views, f"part {name!r} names the view {part.view!r}, which the run does not have"
            )
            state: dict[str, Tensor] = dict(part.state)
            require(
                bool(state), f"part {name!r} has no weights; give those that the objective trained for it"
            )
            try:
                json.dumps(dict(part.settings), allow_nan=False)
            except (TypeError, ValueError) as error:
                require(False, f"`settings` of part {name!r} must hold what JSON can: {error}")
