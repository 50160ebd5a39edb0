"""Texts with hidden words: two rows of tokens, what the network reads and what it is to guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.albef_terms import IGNORED
from sslkit.functional.token_masking import mask_tokens
from sslkit.interfaces import Draw, Transform


class Hiding(NamedTuple):
    """How words are hidden, as the fields of `masked_bpe` say."""

    probability: float
    masked: float
    replaced: float
    hide_end: bool


@final
class MaskedTokenize(Transform):
    """`[B, 2, L]`: the masked text, and below it each hidden token, with padding where nothing is to be guessed."""

    symbols = True

    def __init__(self, tokenize: Transform, hiding: Hiding) -> None:
        """`tokenize`: makes `[B, L]`; its facts have the number of the mask token."""
        self.tokenize, self.hiding, self.facts = tokenize, hiding, tokenize.facts

    def __call__(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        tokens = self.tokenize(samples, draw)
        length, facts = tokens.shape[-1], self.facts
        exempt = (tokens == facts["pad"]) | (tokens == facts["start"])
        if not self.hiding.hide_end:
            exempt |= tokens == facts["end"]
        masked = mask_tokens(
            tokens,
            exempt,
            facts["mask"],
            torch.stack([draw.uniform(length).cpu() for _ in range(3)]),
            draw.integers(facts["vocabulary"], length).cpu(),
            probability=self.hiding.probability,
            masked=self.hiding.masked,
            random=self.hiding.replaced,
        )
        return torch.stack(
            [masked.inputs, masked.labels.where(masked.labels != IGNORED, facts["pad"])], dim=1
        )
