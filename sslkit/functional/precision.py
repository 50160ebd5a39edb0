"""Numeric precision of losses."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32 where it is in half precision; wider types are kept."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
