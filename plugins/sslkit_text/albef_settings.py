"""What ALBEF's terms read, and how they are set."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.interfaces import Encode, Tokens
from sslkit.plugin import Env, SpecError


class Fusion(NamedTuple):
    """As the fields of `albef` say."""

    view: str
    net: str
    text_net: str
    depth: int = 0
    heads: int = 1
    text_view: str = ""
    masked_view: str = ""
    teacher: str = ""
    text_teacher: str = ""
    contrast: float = 0.0
    matching: float = 0.0
    words: float = 0.0
    dim: int = 0
    queue: int = 0
    temperature: float = 0.07
    alpha: float = 0.0
    gather: bool = True

    def passes(self) -> dict[str, Encode]:
        """What the terms in use read, by name."""
        passes = {"image": Encode(self.view, net=self.net)}
        if self.contrast or self.matching:
            passes["text"] = Encode(self.text_view, net=self.text_net)
        if self.words:
            passes["masked"] = Encode(self.masked_view, net=self.text_net)
        if self.contrast or self.words:
            passes["image_m"] = Encode(self.view, net=self.teacher)
        if self.contrast:
            passes["text_m"] = Encode(self.text_view, net=self.text_teacher)
        if self.words:
            passes["masked_m"] = Encode(self.masked_view, net=self.text_teacher)
        return passes


def text_facts(fusion: Fusion, env: Env) -> tuple[int, int]:
    """Number of padding, and size of the vocabulary (0 where no words are hidden).

    Raises:
        SpecError: the views of texts do not tell.
    """
    needed = [fusion.text_view] * bool(fusion.contrast or fusion.matching) + [fusion.masked_view] * bool(
        fusion.words
    )
    pad = words = 0
    for name in needed:
        view = env.view(name)
        if "pad" not in view.facts or (name == fusion.masked_view and len(view.sides) != 2):
            kind = "masked_bpe" if name == fusion.masked_view else "bpe"
            raise SpecError(f"albef: view {name!r} needs `transform: {{kind: {kind}}}`")
        pad, words = view.facts["pad"], view.facts["vocabulary"]
    return pad, words


@torch.no_grad()
def matched(logits: Tensor) -> Tensor:
    """Share of `[3B, 2]` logits that are right."""
    match = torch.arange(len(logits), device=logits.device) < len(logits) // 3
    return (logits.argmax(-1) == match).float().mean()


def with_class(tokens: Tokens) -> Tensor:
    """Class token and patches of the first crop, `[B, 1 + N, D]`."""
    return torch.cat([tokens.cls[0][:, None], tokens.patch[0]], dim=1)


def visible(tokens: Tokens, pad: int) -> Tensor:
    """Tokens of the first text that are no padding, `[B, L]`; of a masked text those that the network read."""
    read = tokens.image[0]
    return (read if read.ndim == 2 else read[:, 0]) != pad
