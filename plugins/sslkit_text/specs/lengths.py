"""Lengths of rows of tokens. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit.plugin import SpecError

if TYPE_CHECKING:
    from sslkit.plugin import Size


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
