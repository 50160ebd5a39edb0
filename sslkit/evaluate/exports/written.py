"""What the writers of formats answer, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Reading(NamedTuple):
    """How what was written is read."""

    deviation: float
    """Largest difference to the network when it was read back, relative to the largest value."""
    usage: str
    """Lines of Python that load it."""
    notes: tuple[str, ...] = ()
    """What people should know of it, in sentences."""


def contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` as safetensors takes it: on the CPU, no two arrays in one memory."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
