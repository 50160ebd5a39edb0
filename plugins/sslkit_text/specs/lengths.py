"""Lengths of rows of tokens. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sslkit.plugin import Problem, SpecError

if TYPE_CHECKING:
    from sslkit.plugin import RunSpec, Size, TransformSpec


FEWEST = 3
"""Tokens of the shortest row: start, a word, end."""


def too_short(transform: TransformSpec, run: RunSpec) -> Iterator[Problem]:
    """The views of `run` with this transform that have no room for a word."""
    for name, view in run.views.items():
        length = view.size if isinstance(view.size, int) else view.size[-1]
        if view.transform is transform and length < FEWEST:
            text = f"has no room for a word between start and end in `views.{name}.size`, which is {length}"
            yield Problem("", f"{text}; at least {FEWEST}")


def length_of(size: Size) -> int:
    """Tokens in a row: `size`, or L of `[2, L]`, whose second row is what was hidden.

    Raises:
        SpecError: it is neither.
    """
    if isinstance(size, int):
        return size
    if len(size) > 2 or (len(size) == 2 and size[0] != 2):
        raise SpecError(
            f"rows of tokens have a length as `size`, or [2, L] with what was hidden, found {list(size)}"
        )
    return size[-1]
