"""Files in the layout of CLIP's `bpe_simple_vocab_16e6.txt.gz`."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count, product
from pathlib import Path

COUNT = 48894
"""Merges of CLIP."""
FIRST = 512
"""Number of the first merge: each byte has a number, and each byte at the end of a word."""
PLACED = {
    539: "o f</w>", 563: "v e</w>", 568: "' s</w>", 585: "i t</w>", 649: "w e</w>", 763: "h ere</w>", 982: "' re</w>",
    1097: "n a", 1125: "pho to</w>", 1929: "do g</w>", 2368: "c at</w>", 2912: "in side</w>", 15304: "caf Ã©</w>",
    21078: "ä º", 35689: "Ã ¯", 44195: "xx xxx</w>", 48338: "æĿ ±",
}  # fmt: skip
"""Number in CLIP -> merge: all that the texts of the golden need."""
BEFORE = (
    "r e</w>", "e re</w>", "t o</w>", "p h", "ph o", "d o", "a t</w>", "i n", "s i", "d e</w>", "si de</w>", "c a",
    "ca f", "Ã ©</w>", "x x</w>", "x xx</w>", "x x", "æ Ŀ",
)  # fmt: skip
"""Merges that come before them, with numbers that no text shows."""
LETTERS = [chr(256 + byte) for byte in range(31)]
"""Control characters, which the texts have not."""


def write(path: Path, merges: Sequence[str], tail: str = "\n") -> Path:
    text = "\n".join(['"bpe_simple_vocab_16e6.txt#version: 0.2', *merges]) + tail
    path.write_bytes(gzip.compress(text.encode("utf-8"), 1))
    return path


def filling() -> Iterator[str]:
    """Merges of control characters, each of tokens before it."""
    words = LETTERS
    for _ in count():
        pairs = list(product(words, LETTERS))
        yield from (f"{first} {second}" for first, second in pairs)
        words = [first + second for first, second in pairs]


def as_clip(placed: Mapping[int, str] = PLACED) -> list[str]:
    """As many merges as CLIP has, and more, as its file has; those that are `placed` have CLIP's numbers."""
    others = chain(BEFORE, filling())
    return [placed.get(FIRST + i) or next(others) for i in range(COUNT)] + ["z z</w>"] * 9
