"""Ranges of augmentations. Torch-free."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1]:
        raise ValueError(f"a range is [low, high] with 0 < low <= high, found {list(value)}")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""[low, high], both above 0."""
