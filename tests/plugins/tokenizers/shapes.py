"""Tiny tokenizers in the shapes of DALL-E's dVAE and of VQGAN, as a plugin would adapt them, and what they read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslkit.core.context import Env, NetInfo
from sslkit.core.passes import Tokens
from sslkit.core.view import Grid, View

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def env(size=32, patch=8, channels=3):
    view = View(size, 1, channels, MEAN[:channels], STD[:channels])
    grid = Grid(size // patch, size // patch, patch)
    return Env({"a": view}, {"student": NetInfo(8, 1)}, {"a": grid})


def crops(images, channels=3):
    """Pixels in [0, 1] as a view would normalize them."""
    mean, std = (torch.tensor(x[:channels]).view(-1, 1, 1) for x in (MEAN, STD))
    normalized = (images - mean) / std
    return Tokens(normalized, torch.zeros(1), torch.zeros(1), None, ())


class TinyDalleEncoder(nn.Module):
    """As `dall_e.Encoder`: pixels that `map_pixels` made -> logits `[B, codes, h, w]`, an eighth of the side."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.blocks = nn.Conv2d(3, codes, 8, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class DalleTokens(nn.Module):
    """The adapter that docs/targets/vq_token.md shows."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.encoder = TinyDalleEncoder(codes)
        self.dropout = nn.Dropout(0.5)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        assert 0 <= images.min() <= images.max() <= 1
        return self.dropout(self.encoder(0.8 * images + 0.1)).argmax(1)


class TinyVQGAN(nn.Module):
    """As taming-transformers' `VQModel`: `encode(x)` of pixels in [-1, 1] -> (codes, loss, (_, _, flat ids))."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 4, stride=4)
        self.codes = nn.Parameter(torch.randn(codes, 4))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, tuple[None, None, Tensor]]:
        z = self.encoder(x).permute(0, 2, 3, 1)
        ids = torch.cdist(z.flatten(0, 2), self.codes).argmin(-1)
        chosen = self.codes[ids].view_as(z).permute(0, 3, 1, 2)
        return chosen, z.new_zeros(()), (None, None, ids)


class VQGANTokens(nn.Module):
    """The adapter that docs/targets/vq_token.md shows."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.model = TinyVQGAN(codes)

    def forward(self, images: Tensor) -> Tensor:
        _, _, (_, _, ids) = self.model.encode(2 * images - 1)
        return ids.view(len(images), -1)
