"""CLIP and SigLIP: two networks whose embeddings of a pair are to be alike. V crops, B pairs, D width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from sslkit.functional.feature_std import feature_std
from sslkit.functional.info_nce import unit
from sslkit.functional.pair_losses import clip, siglip
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.plugin import Env

Loss = Callable[[Tensor, Tensor, Tensor, Tensor | float], Tensor]
"""Embeddings `[B, D]` of both sides, scale and bias -> a scalar."""


class Pairs(NamedTuple):
    """Where the two sides come from."""

    view: str
    net: str
    text_view: str
    text_net: str

    @property
    def passes(self) -> tuple[Encode, Encode]:
        """Of images, and of texts."""
        return Encode(self.view, net=self.net), Encode(self.text_view, net=self.text_net)


def clip_loss(gather: Literal["gradient", "values", "none"]) -> Loss:
    """CLIP's, with embeddings of other ranks as `gather` says."""
    return lambda first, second, scale, bias: clip(first, second, scale, bias, gather=gather)


def siglip_loss(gather: bool, chunk: int) -> Loss:
    """SigLIP's, `chunk` texts at a time."""
    return lambda first, second, scale, bias: siglip(first, second, scale, bias, gather=gather, chunk=chunk)


@final
class PairObjective(Objective):
    """A linear layer for each side, a learned scale, and a bias where the loss has one."""

    compares = True

    def __init__(
        self,
        pairs: Pairs,
        env: Env,
        loss: Loss,
        dim: int,
        scale: float,
        bias: float | None,
        max_scale: float | None,
    ) -> None:
        super().__init__()
        self.pairs, self.passes, self.max_scale, self._loss = pairs, pairs.passes, max_scale, loss
        self.image_projection = _projection(env.net(pairs.net).dim, dim)
        self.text_projection = _projection(env.net(pairs.text_net).dim, dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(bias))

    def embed_images(self, features: Tensor) -> Tensor:
        """Features `[..., D]` of the network that reads images -> embeddings of length 1."""
        return unit(self.image_projection(features))

    def embed_texts(self, features: Tensor) -> Tensor:
        """Features `[..., D]` of the network that reads texts -> embeddings of length 1."""
        return unit(self.text_projection(features))

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The mean over crops; crop v of an image goes with crop v of its text, counted anew where there are fewer."""
        images, texts = self.embed_images(tokens[0].cls), self.embed_texts(tokens[1].cls)
        scale, bias = self.log_scale.exp(), 0.0 if self.bias is None else self.bias
        count = max(len(images), len(texts))
        losses = [
            self._loss(images[v % len(images)], texts[v % len(texts)], scale, bias) for v in range(count)
        ]
        return Output(torch.stack(losses).mean(), self._metrics(images, texts, scale))

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Keep the scale in its bounds (CLIP: from 1 to 100)."""
        if self.max_scale is not None:
            self.log_scale.data.clamp_(0, math.log(self.max_scale))

    @torch.no_grad()
    def _metrics(self, images: Tensor, texts: Tensor, scale: Tensor) -> dict[str, Tensor]:
        """Cosines of pairs, and of all others, from sums, so that no B x B matrix is made for them."""
        first, second, count = images[0], texts[0], images.shape[1]
        positive = (first * second).sum()
        others = (first.sum(0) * second.sum(0)).sum() - positive
        return {
            "positive": positive / count,
            "negative": others / max(1, count * (count - 1)),
            "scale": scale.detach(),
            "feature_std": feature_std(images),
            "text_std": feature_std(texts),
            **({} if self.bias is None else {"bias": self.bias.detach()}),
        }


def _projection(width: int, dim: int) -> nn.Linear:
    """Without bias, N(0, 1 / width), as CLIP's."""
    layer = nn.Linear(width, dim, bias=False)
    nn.init.normal_(layer.weight, std=width**-0.5)
    return layer
