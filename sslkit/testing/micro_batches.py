"""Promise of everything that takes part in a step: micro-batches make the step of the whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.errors import SpecError
from sslkit.spec.parts import OptimizerSpec
from sslkit.spec.run import RunSpec
from sslkit.testing.report import NotOffered, require
from sslkit.testing.training import Trial

STEPS = 2
"""What the first one commits, the second one reads."""
HINT = (
    "set `compares = True` where the loss of an image depends on others (a balancer that is not linear: "
    "`linear = False`), and draw nothing from torch's generator"
)


class Left(NamedTuple):
    """What a few steps leave behind."""

    losses: Mapping[str, Tensor]
    moved: Mapping[str, Tensor]
    """How far parameters moved by plain gradient descent, buffers as they are."""


def require_same_step(
    run: RunSpec, micro_batch_size: int, *, tolerance: float = 1e-4, dtype: torch.dtype = torch.float32
) -> None:
    """Hold steps in micro-batches against steps of the whole batch: losses, gradients, and what is committed.

    Args:
        run: with a batch of at least two micro-batches; its optimizer is replaced. Without dropout, whose random
            numbers are those of a forward.
        micro_batch_size: images of a micro-batch.
        tolerance: relative to the largest number of a kind.
        dtype: of the system and its images.

    Raises:
        PluginError: they differ.
        NotOffered: the backbone refuses micro-batches.
    """
    descent = OptimizerSpec(
        name="momentum", lr=0.01, scale="absolute", momentum=0.0, weight_decay=0.0, layer_decay=None
    )
    whole = run.model_copy(update={"optimizer": descent, "micro_batch_size": None})
    cut = whole.model_copy(update={"micro_batch_size": micro_batch_size})
    try:
        found = _left(cut, dtype)
    except SpecError as error:
        if str(error).startswith("micro_batch_size: "):
            raise NotOffered(f"refused: {error}") from None
        raise
    expected = _left(whole, dtype)
    for name, one, other in (
        ("losses", found.losses, expected.losses),
        ("gradients or buffers", found.moved, expected.moved),
    ):
        wrong = _differing(one, other, tolerance)
        parts = run.batch_size // micro_batch_size
        require(
            not wrong, f"{name} of a step in {parts} micro-batches are others: {', '.join(wrong[:3])}; {HINT}"
        )


def _left(run: RunSpec, dtype: torch.dtype) -> Left:
    trial = Trial(run)
    trial.system.to(dtype)
    before = {name: value.detach().clone() for name, value in trial.system.named_parameters()}
    steps = trial.steps(0, STEPS)
    losses = {
        f"{name} at step {i}": value
        for i, step in enumerate(steps)
        for name, value in step.items()
        if name.split("/")[0] == "loss"
    }
    state = {**trial.system.state_dict(), **trial.composed.step.masking.state_dict()}
    moved = {name: value - before[name] if name in before else value for name, value in state.items()}
    return Left(losses, moved)


def _differing(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> list[str]:
    """Floats by how far they are from the largest of their kind; all else must be equal."""
    floats = {name for name, value in expected.items() if value.is_floating_point()}
    scale = max((expected[name].abs().max().item() for name in floats), default=0.0)
    wrong = [name for name in expected.keys() - floats if not torch.equal(found[name], expected[name])]
    far = [name for name in floats if not _near(found[name], expected[name], tolerance * scale)]
    return sorted(wrong + far)


def _near(found: Tensor, expected: Tensor, slack: float) -> bool:
    return found.shape == expected.shape and bool((found - expected).abs().max() <= slack)
