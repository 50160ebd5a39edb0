"""Regions of segmentation masks: their names, and the values that stand for them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.plugin import DataError, read_text

UNKNOWN = 255
"""Value of unlabeled pixels in a mask."""


class Regions(NamedTuple):
    """What the values of masks mean."""

    names: tuple[str, ...]
    ignored: int | None
    """Value of pixels that are not counted."""
    values: tuple[int, ...] = ()
    """Value of each region in a mask. Default: its number."""

    def numbered(self, values: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
        """Numbers of regions, `UNKNOWN` where pixels are not counted, for `values` as a mask has them.

        Raises:
            DataError: a value is neither of a region nor ignored; the message names `where`.
        """
        table = np.full(256, -1)
        table[list(self.values or range(len(self.names)))] = np.arange(len(self.names))
        if self.ignored is not None:
            table[self.ignored] = UNKNOWN
        numbers = table[values]
        if numbers.min(initial=0) < 0:
            places = f"of values {', '.join(map(str, self.values))}" if self.values else "from 0"
            ignored = "none" if self.ignored is None else str(self.ignored)
            raise DataError(
                f"{where}: has the value {values[numbers < 0].max()}, but there are {len(self.names)} regions, "
                f"{places}, and {ignored} is ignored; give `regions` its name, or set `ignore_index`, or `values`"
            )
        return numbers.astype(np.uint8)


def names_in(path: Path) -> tuple[str, ...]:
    """The lines of a text file; empty ones at its end are left out.

    Raises:
        DataError: it cannot be read, or does not hold 2 to 255 different names.
    """
    lines = read_text(path.expanduser()).rstrip().splitlines()
    names = tuple(line.strip() for line in lines)
    if not 2 <= len(names) <= UNKNOWN or len(set(names)) < len(names):
        raise DataError(
            f"{path}: holds {len(names)} names, {len(set(names))} of them different; expected 2 to 255 different ones, "
            "one on each line"
        )
    return names
