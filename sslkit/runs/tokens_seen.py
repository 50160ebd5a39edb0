"""Tokens that a run has encoded until a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def tokens(one: Mapping[str, Any], step: int) -> float:
    """Tokens that a pass encoded in the first `step` steps, stage by stage where its mask changes."""
    stages = one["stages"] or [{"step": 0, "tokens_per_step": one["tokens_per_step"]}]
    ends = [*(stage["step"] for stage in stages[1:]), math.inf]
    lengths = [max(min(end, step) - stage["step"], 0) for stage, end in zip(stages, ends, strict=True)]
    return float(sum(n * stage["tokens_per_step"] for n, stage in zip(lengths, stages, strict=True)))
