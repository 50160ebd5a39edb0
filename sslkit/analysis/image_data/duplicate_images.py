"""Images whose stored bytes are equal, within a split and between splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.core.source import Source


class Copy(NamedTuple):
    """One of several equal images."""

    split: str
    place: int
    """Its index."""
    name: str


class Duplicates(NamedTuple):
    """Groups of equal images, each in the order of splits and images."""

    within: dict[str, list[list[Copy]]]
    """Split -> its groups of two and more."""
    between: list[list[Copy]]
    """Groups with images of several splits."""
    unknown: list[str]
    """Splits whose source has no digests, so that nothing is known."""

    def surplus(self, split: str) -> int:
        """Images of `split` that are left out when one of each group stays."""
        return sum(len(group) - 1 for group in self.within[split])

    def leaked(self) -> int:
        """Images of the test split that are among the training images."""
        return sum(copy.split == "test" for group in self.between for copy in group)


def duplicates(sources: Mapping[str, Source]) -> Duplicates:
    """Equal images of `sources`, by split. Files that cannot be read count as different."""
    digests = {split: source.digests() for split, source in sources.items()}
    compared = {split: rows for split, rows in digests.items() if rows is not None}
    groups = [
        [Copy(split, index, sources[split].name(index)) for split, index in group]
        for group in _equal(compared)
    ]
    within = {split: [[c for c in group if c.split == split] for group in groups] for split in compared}
    return Duplicates(
        {split: [group for group in some if len(group) > 1] for split, some in within.items()},
        [group for group in groups if len({copy.split for copy in group}) > 1],
        [split for split in sources if split not in compared],
    )


def _equal(digests: Mapping[str, NDArray[np.uint8]]) -> Iterator[list[tuple[str, int]]]:
    """(split, index) of the images of each group of two and more, in the order of their first images."""
    if not digests:
        return
    rows = np.concatenate(list(digests.values()))
    owners = [(split, index) for split, some in digests.items() for index in range(len(some))]
    keys = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").ravel()
    _, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    groups: dict[int, list[tuple[str, int]]] = {}
    several = (counts[inverse] > 1) & rows.any(1)  # zeros stand for what cannot be read
    for place in np.flatnonzero(several).tolist():
        groups.setdefault(int(first[inverse[place]]), []).append(owners[place])
    yield from groups.values()
