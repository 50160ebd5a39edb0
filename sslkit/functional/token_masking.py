"""Masking of words as in BERT: of those chosen most become the mask token, some another word, and the rest stay."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.functional.albef_terms import IGNORED


class MaskedTokens(NamedTuple):
    """A masked text, and what is to be guessed of it."""

    inputs: Tensor
    """`[..., T]` int64, what the network reads."""
    labels: Tensor
    """`[..., T]` int64, the token that stood there, or -100 where nothing is to be guessed."""


def mask_tokens(
    tokens: Tensor,
    exempt: Tensor,
    mask_token: int,
    draws: Tensor,
    words: Tensor,
    *,
    probability: float = 0.15,
    masked: float = 0.8,
    random: float = 0.1,
) -> MaskedTokens:
    """Hide `probability` of the tokens: `masked` of them by the mask token, `random` by a word, the rest by nothing.

    Args:
        tokens: `[..., T]` int64.
        exempt: `[..., T]` bool, tokens that are never chosen. BERT: all special ones. ALBEF: padding and the first
            token alone, so that the closing one is masked too.
        mask_token: number of the mask token.
        draws: `[3, ..., T]` uniform in [0, 1): whether a token is chosen, whether it is masked, whether it becomes a
            random word where it is not masked.
        words: `[..., T]` int64, the words that may take its place. The references draw them from the whole
            vocabulary, special tokens included.
        probability: share of tokens chosen (BERT: 0.15).
        masked: share of those that become the mask token (BERT: 0.8).
        random: share of those that become a random word (BERT: 0.1).
    """
    selected = (draws[0] < probability) & ~exempt
    to_mask = selected & (draws[1] < masked)
    share = random / (1 - masked) if masked < 1 else 0.0
    to_word = selected & ~to_mask & (draws[2] < share)
    inputs = torch.where(to_mask, mask_token, torch.where(to_word, words, tokens))
    return MaskedTokens(inputs, torch.where(selected, tokens, IGNORED))
