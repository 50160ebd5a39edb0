"""Masker schedules: the steps at which maskers change, and the graphs that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from sslkit.core.context import Length
from sslkit.core.masker import Masker

Stages = Mapping[int, Masker]
"""Index of a masked pass -> its masker in force."""
PROBES = 1024
"""Steps that are looked at whatever their neighbors say, evenly spread over the run."""


def timeline(maskers: Stages, length: Length) -> dict[int, Stages]:
    """Every step of a run at which a masker in force changes, and those in force from then on.

    Stages that come and go between two probes, in under a thousandth of a run, are not seen.
    """

    def now(step: int) -> Sequence[Masker]:
        return [masker.at(length.progress(step)) for masker in maskers.values()]

    steps, turns = length.steps, (step for start, _ in length.extended for step in (start - 1, start))
    probes = sorted({*range(0, steps, max(1, steps // PROBES)), steps - 1, *turns})
    changed = [0, *(step for low, high in pairwise(probes) for step in _changes(now, low, high))]
    return {step: dict(zip(maskers, now(step), strict=True)) for step in changed}


def masks_shapes(stages: Iterable[Stages]) -> int:
    """Shapes that all masks together take, each of which makes a graph of its own."""
    return len({tuple((m.visible or 0, m.most) for m in one.values()) for one in stages})


def _changes(now: Callable[[int], Sequence[Masker]], low: int, high: int) -> Iterator[int]:
    """The steps after `low` up to `high` from which other maskers are in force, found by bisection."""
    if now(low) == now(high):
        return
    if high - low == 1:
        yield high
        return
    middle = (low + high) // 2
    yield from _changes(now, low, middle)
    yield from _changes(now, middle, high)
