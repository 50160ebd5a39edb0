"""Amounts of memory as people write them: `2 GiB`. Torch-free."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

if TYPE_CHECKING:
    pass


_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}


def byte_count(size: str) -> int:
    """Bytes of a `Size`: 2147483648 of `2 GiB`."""
    number, unit = size.split()
    return int(float(number) * _UNITS[unit])


def _size(value: str) -> str:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})? (MiB|GiB)", value):
        raise ValueError("must be a number and its unit, as in '2 GiB' or '500 MiB'")
    return value


Size = Annotated[str, AfterValidator(_size)]
"""An amount of memory: `2 GiB`, `500 MiB`."""
