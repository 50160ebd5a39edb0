"""Subjects made of given features."""

from __future__ import annotations

from collections.abc import Mapping
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


@final
class Given(Subject):
    """Answers with features that the test made; evaluators of features need nothing else."""

    def __init__(self, splits: Mapping[Split, Features], seed: int = 0) -> None:
        self.splits, self.seed = splits, seed

    view = View(8, 1, 3, (0.0,) * 3, (1.0,) * 3)

    def features(self, split: Split, layer: int | None = None) -> Features:
        return self.splits[split]

    def rows(self, split: Split, make: Make, only: Tensor | None = None) -> Rows:
        raise AssertionError("an evaluator of features asked for images")

    def encode(self, images: Tensor) -> Tensor:
        raise AssertionError("an evaluator of features asked for the network")

    def tokens(self, images: Tensor, layers: tuple[int, ...] = (), attention: bool = False) -> Tokens:
        raise AssertionError("an evaluator of features asked for the network")

    def system(self) -> tuple[System, Env]:
        raise AssertionError("an evaluator of features asked for the run")

    def source(self, split: Split) -> Source:
        raise AssertionError("an evaluator of features asked for images")

    def backbone(self) -> Backbone:
        raise AssertionError("an evaluator of features asked for the network")


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(count))


def subject(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, seed: int = 0) -> Given:
    """A subject of (features, labels) pairs."""
    return Given({"train": Features(*train, names(classes)), "test": Features(*test, names(classes))}, seed)


def clusters(
    count: int, classes: int, dim: int, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Features around one fixed center for each class, with an offset and scales that differ by dimension."""
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes
    values = centers[labels] + noise * torch.randn(count, dim, generator=generator)
    return values * torch.logspace(-2, 2, dim) + 5, labels
