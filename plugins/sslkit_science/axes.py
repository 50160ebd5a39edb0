"""Letters of axes. Torch-free."""

from __future__ import annotations

SYNONYMS = {"H": "Y", "W": "X", "S": "C"}
"""Letters that mean the same: height, width, samples."""


def axes_problem(axes: str) -> str | None:
    """What is wrong with the letters of axes; None where there is nothing."""
    letters = "".join(SYNONYMS.get(axis, axis) for axis in axes)
    if not letters.isalpha() or letters != letters.upper():
        return f"{axes!r} is no name of axes; expected capital letters, such as NCYX"
    if len(set(letters)) < len(letters):
        return f"{axes!r} names an axis twice (H is Y, W is X, S is C)"
    if "Y" not in letters or "X" not in letters:
        return f"{axes!r} lacks Y, the rows, or X, the columns"
    return None
