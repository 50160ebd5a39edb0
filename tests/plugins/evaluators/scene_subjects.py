"""Painted scenes: a square or a disc of its own color on dark noise, whose masks are known."""

from __future__ import annotations

from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.context import Env
from sslkit.core.evaluator import Features, Make, Rows, Split, Subject
from sslkit.core.passes import Tokens
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.core.view import Grid, View
from sslkit.errors import DataError
from sslkit.specs.families import SourceSpec

SIDE, PATCH = 32, 4
REGIONS = ("background", "square", "disc")
COLORS = torch.tensor([[30, 30, 40], [220, 60, 50], [60, 200, 70]])


def paint(count: int, seed: int, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Images `[n, 3, S, S]` uint8 and masks `[n, S, S]` uint8; even ones have a square, odd ones a disc."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.randint(side // 4, 3 * side // 4, (count, 2), generator=generator)
    radius = torch.randint(side // 6, side // 4, (count,), generator=generator)
    places = torch.arange(side)
    rows = (places[:, None] - center[:, 0, None, None]).abs().expand(-1, -1, side)
    columns = (places[None, :] - center[:, 1, None, None]).abs().expand(-1, side, -1)
    square = torch.maximum(rows, columns) <= radius[:, None, None]
    disc = rows.square() + columns.square() <= radius[:, None, None].square()
    odd = (torch.arange(count) % 2 == 1)[:, None, None]
    masks = torch.where(odd, 2 * disc, 1 * square).to(torch.uint8)
    noise = torch.randint(-25, 25, (count, 3, side, side), generator=generator)
    images = (COLORS[masks.long()].movedim(-1, 1) + noise).clamp(0, 255).to(torch.uint8)
    return images, masks


@final
class PaintedSource(Source):
    """Scenes in memory; those in `damaged` cannot be read."""

    labels = None
    classes = ()
    regions = REGIONS

    def __init__(
        self, count: int, seed: int, damaged: frozenset[int] = frozenset(), side: int = SIDE
    ) -> None:
        self.images, self.masks = paint(count, seed, side)
        self.channels, self.fingerprint, self.damaged = 3, f"painted {count} {seed}", damaged

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Tensor:
        if index in self.damaged:
            raise DataError(f"image {index} is damaged")
        return self.images[index]

    def mask(self, index: int) -> Tensor | None:
        return self.masks[index]


@final
class Painted(SourceSpec):
    """The scenes; no entry point offers them."""

    kind: Literal["painted"] = "painted"
    train: int = 24
    tests: int = 12
    damaged: frozenset[int] = frozenset()

    def build(self, split: str) -> Source:
        if split == "train":
            return PaintedSource(self.train, 1, self.damaged)
        return PaintedSource(self.tests, 2)


class Grids:
    """What of a network `dense` asks."""

    def grid(self, size: int) -> Grid:
        return Grid(size // PATCH, size // PATCH, PATCH)


@final
class Scenes(Subject):
    """The last block's tokens are the mean colors of patches; those of block 0 know nothing."""

    view = View(SIDE, 1, 3, (0.5,) * 3, (0.25,) * 3)
    pool = "mean"

    def __init__(self, train: PaintedSource, test: PaintedSource, seed: int = 0) -> None:
        self.sources: dict[Split, PaintedSource] = {"train": train, "test": test}
        self.seed = seed
        self.passes = 0

    @torch.no_grad()
    def rows(self, split: Split, make: Make, only: Tensor | None = None) -> Rows:
        source = self.sources[split]
        chosen = torch.arange(len(source)) if only is None else only
        kept = chosen[torch.tensor([int(i) not in source.damaged for i in chosen], dtype=torch.bool)]
        images = (source.images[kept].float() / 255 - 0.5) / 0.25
        made = [make(images[part], kept[part]).float() for part in torch.arange(len(kept)).split(5)]
        return Rows(torch.cat(made), kept, None, ())

    def tokens(self, images: Tensor, layers: tuple[int, ...] = (), attention: bool = False) -> Tokens:
        self.passes += len(images)
        colors = F.avg_pool2d(images, PATCH).flatten(2).mT
        noise = torch.randn(colors.shape, generator=torch.Generator().manual_seed(0))
        inner = tuple(torch.cat([noise[:, :1], noise], 1)[None] for _ in layers)
        return Tokens(images[None], colors.mean(1)[None], colors[None], None, inner)

    def source(self, split: Split) -> Source:
        return self.sources[split]

    def backbone(self) -> Backbone:
        return Grids()  # type: ignore[return-value]

    def features(self, split: Split, layer: int | None = None) -> Features:
        raise AssertionError("these images have no labels")

    def encode(self, images: Tensor) -> Tensor:
        raise AssertionError("nobody here asks for the readout")

    def system(self) -> tuple[System, Env]:
        raise AssertionError("nobody here asks for the run")


def scenes(train: int = 40, tests: int = 16, seed: int = 0, **changes: Any) -> Scenes:
    """Made scenes to learn from and others to score."""
    return Scenes(PaintedSource(train, 1, **changes), PaintedSource(tests, 2), seed)
