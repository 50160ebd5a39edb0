"""Subjects made of given images, an encoder and perhaps a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.context import Env
from sslkit.core.evaluator import Features, Make, Rows, Split, Subject
from sslkit.core.passes import Tokens
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.core.view import View
from sslkit.errors import DataError
from tests.fakes_train import MadeSource

SIDE = 8


@final
class Made(Subject):
    """One split of images `[N, C, S, S]`, in batches of seven; features are `encoder` of them."""

    def __init__(
        self,
        images: Tensor,
        encoder: Callable[[Tensor], Tensor] = lambda images: images.flatten(1),
        labels: Tensor | None = None,
        net: Backbone | None = None,
        seed: int = 5,
    ) -> None:
        self.images, self.encoder, self.net, self.seed = images, encoder, net, seed
        self.view = View(
            images.shape[-1], 1, images.shape[1], (0.5,) * images.shape[1], (0.25,) * images.shape[1]
        )
        self.made = MadeSource(torch.zeros(len(images), images.shape[1], 1, 1, dtype=torch.uint8), labels)
        self.read: list[list[int]] = []
        self.splits: list[Split] = []

    def features(self, split: Split, layer: int | None = None) -> Features:
        assert self.made.labels is not None, "features are of labeled images"
        self.splits.append(split)
        return Features(self.encoder(self.images).float(), self.made.labels, self.made.classes)

    @torch.no_grad()
    def rows(self, split: Split, make: Make, only: Tensor | None = None) -> Rows:
        self.splits.append(split)
        chosen = torch.arange(len(self.images)) if only is None else only
        self.read.append(chosen.tolist())
        values = torch.cat([make(self.images[part], part).float() for part in chosen.split(7)])
        labels = None if self.made.labels is None else self.made.labels[chosen]
        return Rows(values, chosen, labels, self.made.classes)

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images).float()

    def tokens(self, images: Tensor, layers: tuple[int, ...] = (), attention: bool = False) -> Tokens:
        raise AssertionError("nobody here asks for tokens")

    def source(self, split: Split) -> Source:
        return self.made

    def backbone(self) -> Backbone:
        if self.net is None:
            raise DataError("raw pixels have no network; this evaluator cannot be used with `baselines`")
        return self.net

    def system(self) -> tuple[System, Env]:
        raise AssertionError("nobody here asks for the run")


def noise(count: int, channels: int = 3, side: int = SIDE, seed: int = 0) -> Tensor:
    """Normalized images of noise."""
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def holding(values: Tensor, labels: Tensor | None = None, seed: int = 5) -> Made:
    """A subject whose features are `values` `[N, D]`: images of one row, which the encoder reads."""
    side = values.shape[1]
    images = torch.zeros(len(values), 1, side, side)
    images[:, 0, 0] = values.float()
    return Made(images, lambda images: images[:, 0, 0], labels, seed=seed)
