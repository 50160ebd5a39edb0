"""State after a few steps of a run, to compare two ways of making them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from sslkit.runtime.parallel import Parallel
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.run import RunSpec
from sslkit.testing.kit_report import NotOffered
from sslkit.testing.promises.training_promises import Trial

STEPS = 2
"""What the first one commits, the second one reads."""
TOLERANCE = 1e-4
"""Float error that is let pass, relative to the largest number of a kind: sums are made in another order."""


class Left(NamedTuple):
    """Losses and changes of the state by a few steps."""

    losses: Mapping[str, Tensor]
    """Means over ranks."""
    moved: Mapping[str, Tensor]
    """How far parameters moved by plain gradient descent, buffers as they are."""
    grain: Mapping[str, float] = {}
    """What rounding alone adds: of each parameter to how far it moved, and of numbers near 1 to a loss near 0."""


def with_descent(run: RunSpec) -> RunSpec:
    """`run` with plain gradient descent: how far a parameter moves is its gradient, which Adam would divide away."""
    descent = OptimizerSpec(name="momentum", lr=0.01, scale="absolute", momentum=0.0, weight_decay=0.0)
    return run.model_copy(update={"optimizer": descent})


def left_behind(run: RunSpec, parallel: Parallel, dtype: torch.dtype = torch.float32) -> Left:
    """What `STEPS` steps of `run`, in `dtype`, leave behind on this rank.

    Raises:
        NotOffered: it drops units at random, for which every forward draws anew.
    """
    trial = Trial(run, parallel)
    if drops(trial.system):
        raise NotOffered("drops units at random, for which every forward draws anew")
    trial.system.to(dtype)
    before = {name: value.detach().clone() for name, value in trial.system.named_parameters()}
    losses = {
        f"{name} at step {i}": parallel.mean(value.detach())
        for i, step in enumerate(trial.steps(0, STEPS))
        for name, value in step.items()
        if name.split("/")[0] == "loss"
    }
    state = {**trial.system.state_dict(), **trial.composed.step.masking.state_dict()}
    moved = {
        name: value.detach() - before[name] if name in before else value for name, value in state.items()
    }
    eps = torch.finfo(dtype).eps
    grain = {name: STEPS * eps * value.abs().max().item() for name, value in before.items()}
    return Left(losses, moved, grain | dict.fromkeys(losses, 16 * eps))


def drops(module: nn.Module) -> bool:
    """Whether some part of `module` drops units or paths at random, by torch's generator."""
    return any(
        part.training and (getattr(part, "drop_prob", 0) or (isinstance(part, _DropoutNd) and part.p))
        for part in module.modules()
    )


def differing(left: Left, expected: Left, tolerance: float = TOLERANCE) -> Iterator[tuple[str, str]]:
    """What differs, and a few names of each: floats by how far they are from the largest of their kind."""
    for what, one, other in (
        ("losses", left.losses, expected.losses),
        ("gradients or buffers", left.moved, expected.moved),
    ):
        scale = max((v.abs().max().item() for v in other.values() if v.is_floating_point()), default=0.0)
        wrong = [
            name
            for name in other
            if name not in one
            or not _near(one[name], other[name], tolerance * scale + expected.grain.get(name, 0.0))
        ]
        if wrong:
            yield what, ", ".join(sorted(wrong)[:3])


def _near(value: Tensor, expected: Tensor, slack: float) -> bool:
    if value.shape != expected.shape or not expected.is_floating_point():
        return value.shape == expected.shape and bool((value == expected).all())
    return bool((value - expected).abs().max() <= slack)
