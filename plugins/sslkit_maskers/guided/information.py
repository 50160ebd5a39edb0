"""Masking by conditional entropy under a Gaussian model of patches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.interfaces import Draw, Mask, Masker, Scene
from sslkit.plugin import Grid
from sslkit_maskers.guided.gaussian import Patches, choose, covariance, describe, places

SHRINKAGE = 0.01
"""Share of the mean variance added to that of every direction, which bounds how far whitening magnifies noise."""
LEAST = torch.finfo(torch.float32).eps
"""Least variance, where all patches of the data are equal."""
TIE = 1e-5
"""Least scale of the noise, in nats: far above rounding errors, far below what a picture shows."""


class Model(NamedTuple):
    """Numbers of the Gaussian model and of the choice; as the fields of `information` say."""

    maximize: bool
    temperature: float
    feature_length: float
    position_length: float
    noise: float
    decay: float


@final
class InformationSampler(Masker):
    """Keeps visible the patches with least, or most, information about the rest of the image."""

    seen: Tensor
    center: Tensor
    moment: Tensor
    detail: Tensor
    level: Tensor
    whiten: Tensor
    place: Tensor

    def __init__(self, model: Model, grid: Grid, visible: int, channels: int, cells: int) -> None:
        """`visible` patches stay; each is described by `cells` x `cells` averages of its `channels`."""
        super().__init__()
        self.model, self.grid, self.channels, self.cells = model, grid, channels, cells
        self.visible: int = visible
        self.most = grid.patches - visible
        dim = channels * cells**2
        half = torch.tensor(0.5, dtype=torch.float64)
        learned = {
            "seen": torch.zeros((), dtype=torch.int64),  # steps
            "center": torch.zeros(dim, dtype=torch.float64),  # mean descriptor
            "moment": torch.eye(dim, dtype=torch.float64),  # mean of descriptors' outer products
            "detail": half,  # variance within patches
            "level": half.clone(),  # variance between the means of patches
            "whiten": torch.eye(dim, dtype=torch.float64),  # transposed
        }
        for name, values in learned.items():
            self.register_buffer(name, values)
        at = places(grid.rows, grid.cols) / model.position_length
        self.register_buffer("place", at, persistent=False)

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        first = draw.integers(self.grid.patches).flatten()
        uniform = draw.uniform(self.grid.patches).flatten(0, -2).double()
        gumbel = -(-(uniform + 2.0**-25).log()).log()
        bias = gumbel * max(self.model.temperature, TIE)
        sign = -1.0 if self.model.maximize else 1.0
        visible = choose(self.covariance(scene.image), first, self.visible, sign, bias)
        return ~visible.view(*draw.shape, -1)

    def covariance(self, images: Tensor) -> Tensor:
        """Model covariance between the patches of each image, `[*rows, C, H, W]` -> `[R, N, N]` float64."""
        patches = self._describe(images)
        features = (patches.cells @ self.whiten) / (self.model.feature_length * math.sqrt(len(self.whiten)))
        inputs = torch.cat([features, self.place.expand(len(features), -1, -1)], -1)
        variance = (self.level + patches.detail) / (self.level + self.detail)
        return covariance(inputs, variance.sqrt(), self.model.noise)

    def observe(self, scene: Scene, mask: Mask, scores: Tensor | None) -> Mapping[str, Tensor]:
        """Sums over all patches: one row of each."""
        cells, detail = self._describe(scene.image)
        x = cells.flatten(0, 1)
        count = torch.full((1,), float(len(x)), dtype=torch.float64, device=x.device)
        return {
            "count": count,
            "sum": x.sum(0, keepdim=True),
            "product": (x.T @ x)[None],
            "detail": detail.sum().view(1),
        }

    def commit(self, rows: Mapping[str, Tensor]) -> None:
        """Follow the moments of the data: their mean over the first steps, a moving average later."""
        count = rows["count"].sum()
        self.seen += 1
        rate = (1 / self.seen.double()).clamp(min=1 - self.model.decay)
        self.center.lerp_(rows["sum"].sum(0) / count, rate)
        self.moment.lerp_(rows["product"].sum(0) / count, rate)
        self.detail.lerp_(rows["detail"].sum() / count, rate)
        self._fit()

    def _fit(self) -> None:
        """What follows from the moments. Distances after any whitening are the same, so a Cholesky factor will do."""
        cov = self.moment - torch.outer(self.center, self.center)
        ridge = SHRINKAGE * cov.diagonal().mean() + LEAST
        one = torch.eye(len(cov), dtype=cov.dtype, device=cov.device)
        factor = torch.linalg.cholesky_ex(cov + ridge * one).L
        self.whiten.copy_(torch.linalg.solve_triangular(factor, one, upper=False).T)
        between = cov.view(self.channels, self.cells**2, self.channels, self.cells**2).mean((1, 3))
        self.level.copy_(between.diagonal().mean().clamp(min=LEAST))

    def _describe(self, images: Tensor) -> Patches:
        return describe(images.flatten(0, -4), self.grid.patch, self.cells)
