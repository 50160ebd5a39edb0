"""Many short texts in two arrays: a million keys as `str` take five times the memory, and again in each worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

WINDOW = 1 << 16
"""Texts that are read together."""


class Packed(NamedTuple):
    """Texts as arrays."""

    content: NDArray[np.uint8]
    """All of them in UTF-8, one behind the other."""
    lengths: NDArray[np.int32]
    """Bytes of each, `[N]`."""


def packed(texts: Iterable[str]) -> Packed:
    """`texts` as arrays; what is no text in Unicode, as in names of files, comes back as it was."""
    encoded = [text.encode(errors="surrogateescape") for text in texts]
    lengths = np.array([len(one) for one in encoded], dtype=np.int32)
    return Packed(np.frombuffer(b"".join(encoded), dtype=np.uint8), lengths)


@final
class Texts(Sequence[str]):
    """Reads what `packed` wrote."""

    def __init__(self, texts: Packed) -> None:
        self._content = texts.content
        self._ends = np.concatenate([[0], np.cumsum(texts.lengths, dtype=np.int64)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override] # no slices
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place = index % len(self)
        return (
            self._content[self._ends[place] : self._ends[place + 1]]
            .tobytes()
            .decode(errors="surrogateescape")
        )

    def __iter__(self) -> Iterator[str]:
        """A window of many at a time, as one by one takes twice as long."""
        for start in range(0, len(self), WINDOW):
            ends = self._ends[start : start + WINDOW + 1]
            content, places = self._content[ends[0] : ends[-1]].tobytes(), (ends - ends[0]).tolist()
            for begin, end in pairwise(places):
                yield content[begin:end].decode(errors="surrogateescape")
