"""Widths of heads that follow each other, and of transformers. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from sslkit.plugin import Problem, Projection

PredictorPer = Literal["all", "crop"]
"""Which crops share a predictor."""


def width_problems(projector: Projection, predictor: Projection | None) -> Iterator[Problem]:
    """A predictor gives embeddings as wide as those that it is compared with."""
    if predictor is not None and projector.out != predictor.out:
        yield Problem("predictor.out", f"{predictor.out} differs from that of `projector`, {projector.out}")


def transformer_problems(width: int, heads: int) -> Iterator[Problem]:
    """Heads share the width."""
    if width % heads:
        yield Problem("heads", f"{heads} heads do not divide the width {width}")


def without_blocks(depth: int) -> Iterator[Problem]:
    """Heads of a transformer that has no block."""
    if depth == 0:
        yield Problem("heads", "has no effect, as `depth` is 0", note=True)
