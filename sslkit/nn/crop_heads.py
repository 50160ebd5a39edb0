"""Heads of crops: one for all, or one for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor, nn

from sslkit.nn.projection_head import ProjectionHead

if TYPE_CHECKING:
    from sslkit.specs.projection_head import Projection

Sharing = Literal["all", "crop"]
"""Which crops share a predictor: all, or none, each position having its own."""


@final
class CropHeads(nn.Module):
    """A head for each position of a crop, for views whose crops are augmented each in its own way."""

    def __init__(self, spec: Projection, width_in: int, crops: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(ProjectionHead(spec, width_in) for _ in range(crops))

    def per_crop(self, features: Tensor) -> Tensor:
        """`[V, B, D]` -> `[V, B, out]`; crop v through head v."""
        return torch.stack([head(crop) for head, crop in zip(self.heads, features.unbind(), strict=True)])


def predictor_of(spec: Projection, width_in: int, sharing: Sharing, crops: int) -> ProjectionHead | CropHeads:
    """The predictor of `crops` crops of a view."""
    return ProjectionHead(spec, width_in) if sharing == "all" else CropHeads(spec, width_in, crops)
