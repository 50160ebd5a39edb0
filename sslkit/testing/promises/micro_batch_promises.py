"""Conformance check: steps in micro-batches equal steps of the whole batch."""

from __future__ import annotations

import torch

from sslkit.errors import PluginError, SpecError
from sslkit.runtime.parallel import Single
from sslkit.specs.run import RunSpec
from sslkit.testing.kit_report import NotOffered
from sslkit.testing.promises.training_promises import CPU
from sslkit.testing.steps import TOLERANCE, differing, left_behind, with_descent

HINT = (
    "set `compares = True` where the loss of an image depends on others (a balancer that is not linear: "
    "`linear = False`), and draw nothing from torch's generator"
)


def require_same_step(
    run: RunSpec, micro_batch_size: int, *, tolerance: float = TOLERANCE, dtype: torch.dtype = torch.float32
) -> None:
    """Hold steps in micro-batches against steps of the whole batch: losses, gradients, and what is committed.

    Args:
        run: with a batch of at least two micro-batches; its optimizer is replaced.
        micro_batch_size: images of a micro-batch.
        tolerance: relative to the largest number of a kind.
        dtype: of the system and its images.

    Raises:
        PluginError: they differ.
        NotOffered: the backbone refuses micro-batches, or drops units at random.
    """
    whole = with_descent(run)
    cut = whole.model_copy(update={"micro_batch_size": micro_batch_size})
    try:
        parts = left_behind(cut, Single(CPU), dtype)
    except SpecError as error:
        if str(error).startswith("micro_batch_size: "):
            raise NotOffered(f"refused: {error}") from None
        raise
    count = run.batch_size // micro_batch_size
    for what, names in differing(parts, left_behind(whole, Single(CPU), dtype), tolerance):
        raise PluginError(f"{what} of a step in {count} micro-batches are others: {names}; {HINT}")
