"""Masked language modelling on text alone. V crops, B texts, L tokens, D width, W words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.albef_terms import IGNORED, mlm
from sslkit.interfaces import Encode, Objective, Output, Tokens, all_rows
from sslkit.plugin import Env, SpecError


@final
class WordHead(nn.Module):
    """BERT's: a linear layer, GELU and a layer norm, then logits of all words with a bias of their own."""

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.dense, self.words = nn.Linear(width, width), nn.Linear(width, words)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        for layer in (self.dense, self.words):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D]` -> `[..., W]`."""
        logits: Tensor = self.words(self.norm(F.gelu(self.dense(x))))
        return logits


def rank_share(asked: Tensor) -> Tensor:
    """What makes the mean over ranks of each one's mean over the tokens `asked` that of one process."""
    count = asked.sum().float()
    every = all_rows(count[None])
    return count / every.mean().clamp(min=1 / len(every))


@final
class MaskedWordsObjective(Objective):
    """Cross-entropy of the hidden tokens, mean over those of all ranks."""

    compares = True

    def __init__(self, view: str, net: str, env: Env) -> None:
        super().__init__()
        facts = env.view(view).facts
        if len(env.view(view).sides) != 2 or "vocabulary" not in facts:
            raise SpecError(
                f"mlm: view {view!r} has no hidden words; give it `transform: {{kind: masked_bpe}}`"
            )
        self.pad = facts["pad"]
        self.passes = (Encode(view, net=net),)
        self.head = WordHead(env.net(net).dim, facts["vocabulary"])

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """Each rank's sum over the mean number of hidden tokens of a rank, so that ranks equal one process."""
        hidden = tokens[0].image[:, :, 1]
        labels = hidden.where(hidden != self.pad, IGNORED)
        logits = self.head(tokens[0].patch)
        asked = labels != IGNORED
        loss = mlm(logits, labels) * rank_share(asked)
        with torch.no_grad():
            count = asked.sum().float()
            right = ((logits.argmax(-1) == labels) & asked).sum() / count.clamp(min=1)
        return Output(loss, {"accuracy": right, "hidden": count / asked.numel()})
