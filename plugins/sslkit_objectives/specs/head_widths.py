"""Widths of heads that follow each other. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator

from sslkit.plugin import Problem, Projection


def width_problems(projector: Projection, predictor: Projection | None) -> Iterator[Problem]:
    """A predictor gives embeddings as wide as those that it is compared with."""
    if predictor is not None and projector.out != predictor.out:
        yield Problem("predictor.out", f"{predictor.out} differs from that of `projector`, {projector.out}")
