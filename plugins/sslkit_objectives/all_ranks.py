"""Features of the images of all ranks, for losses that compare images with each other."""

from __future__ import annotations

from torch import Tensor

from sslkit.functional.all_gather import all_rows
from sslkit.functional.precision import at_least_float32


def of_all_ranks(features_VBD: Tensor) -> Tensor:
    """`[V, B, D]` of this rank -> `[V, ranks * B, D]` of all, with gradient, in at least float32."""
    return all_rows(at_least_float32(features_VBD).transpose(0, 1)).transpose(0, 1)
