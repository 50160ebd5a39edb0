"""Texts as rows of tokens of one length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import final

import torch
from tokenizers import Tokenizer
from torch import Tensor

from sslkit.interfaces import Draw, Transform, text_of
from sslkit_text.captioned_source import BETWEEN
from sslkit_text.vocabulary import is_clip, read_tokenizer, words_of


@final
class Tokenize(Transform):
    """Start, words, end, padding. Of several captions of a sample, one is drawn."""

    symbols = True

    def __init__(self, learned: str, facts: Mapping[str, int], length: int) -> None:
        """`facts`: numbers of `pad`, `start` and `end`, and what else networks must know; `length`: of a row."""
        self.learned, self.facts, self.length = learned, facts, length

    def __call__(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        places = draw.uniform().reshape(-1).tolist()
        rows = [self._row(sample, place) for sample, place in zip(samples, places, strict=True)]
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), self.length)

    def _row(self, sample: Tensor, place: float) -> list[int]:
        """The tokens of one of the captions in `sample`: the one at the share `place` of them."""
        captions = text_of(sample).split(BETWEEN)
        words = _words(self.learned, captions[int(place * len(captions))])
        return framed(words, self.facts, self.length)


def framed(words: Sequence[int], facts: Mapping[str, int], length: int) -> list[int]:
    """Start, as many of the `words` as fit, end, and padding up to `length`."""
    row = [facts["start"], *words[: length - 2], facts["end"]]
    return row + [facts["pad"]] * (length - len(row))


@lru_cache(maxsize=4)
def _tokenizer(learned: str) -> Tokenizer:
    """One for each process and vocabulary."""
    return read_tokenizer(learned)


@lru_cache(maxsize=1 << 16)
def _words(learned: str, text: str) -> tuple[int, ...]:
    """Numbers of the words of a text; captions come again in every epoch."""
    return words_of(_tokenizer(learned), text, is_clip(learned))
