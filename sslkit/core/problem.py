"""What is wrong with a part of a run. Torch-free."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong with a spec."""

    path: str
    """Dotted path below the spec that reports it; empty for the spec itself."""
    message: str
    """What was found, what was expected and what to do."""
    note: bool = False
    """Whether a line of `validate` and `run` is enough: a switch of the spec itself turned the field off."""
