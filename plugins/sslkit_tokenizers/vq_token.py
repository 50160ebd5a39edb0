"""Token targets: code ids of a frozen tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32
from sslkit.interfaces import Target, Tokens
from sslkit.nn.pixel_normalization import PixelNormalization
from sslkit.plugin import Grid, SpecError, View, reason_of
from sslkit_tokenizers.palette import token_image
from sslkit_tokenizers.tokenizer import Source


@final
class VQTokenTarget(Target):
    """A class for each patch, its code's id."""

    colors: Tensor

    def __init__(self, source: Source, view: View, grid: Grid) -> None:
        super().__init__()
        self.tokenizer, self.size, self.grid = source.module, source.size, grid
        self.dim = source.codes
        self.register_buffer("colors", source.colors, persistent=False)
        self.normalize = PixelNormalization(view.mean, view.std)

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N]` int64."""
        ids: Tensor = self.tokenizer(self.pictures(seen.image))
        return ids.reshape(*seen.image.shape[:2], -1)

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Cross-entropy of each patch in nats, `[L]`."""
        return F.cross_entropy(at_least_float32(guess), goal, reduction="none")

    def metrics(self, guess: Tensor, goal: Tensor, real: Tensor) -> Mapping[str, Tensor]:
        """Share of the patches whose likeliest token is the right one."""
        right = (guess.argmax(-1) == goal) & real
        return {"accuracy": right.float().sum() / real.float().sum().clamp(min=1)}

    def pictures(self, images: Tensor) -> Tensor:
        """Crops `[V, B, C, H, W]` as the tokenizer takes them: pixels in [0, 1], `[V * B, C, size, size]`."""
        pixels = self.normalize.inverse(images.float()).clamp(0, 1).flatten(0, 1)
        if pixels.shape[-1] == self.size:
            return pixels
        smaller = F.interpolate(pixels, (self.size, self.size), mode="bicubic", antialias=True)
        return smaller.clamp(0, 1)

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor:
        """Each patch in the color of its likeliest token."""
        return self.goal_image(guess.argmax(-1), seen)

    def goal_image(self, goal: Tensor, seen: Tokens) -> Tensor:
        """Each patch in the color of its token."""
        image: Tensor = self.normalize(token_image(goal, self.colors, self.grid))
        return image


def token_target(source: Source, view: View, grid: Grid) -> VQTokenTarget:
    """The target, tried on a black picture. Raises SpecError where its tokens are not those of `grid`."""
    _require_channels(source, view)
    try:
        ids = source.module(torch.zeros(1, view.channels, source.size, source.size))
    except (RuntimeError, ValueError, TypeError) as error:
        raise SpecError(
            f"target: {source.name} fails on an image of {source.size} pixels: {reason_of(error)}"
        ) from None
    _require_ids(ids, source)
    _require_grid(ids, source, grid)
    return VQTokenTarget(source, view, grid)


def _require_channels(source: Source, view: View) -> None:
    if source.colors.shape[1] != view.channels:
        raise SpecError(
            f"target: {source.name} reads images of {source.colors.shape[1]} channels, but these have {view.channels}"
        )


def _require_ids(ids: object, source: Source) -> None:
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64 or ids.ndim not in (2, 3):
        shape = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise SpecError(
            f"target: {source.name} gives {shape}, expected int64 ids [B, rows, columns] or [B, patches]"
        )
    low, high = int(ids.min()), int(ids.max())
    if not 0 <= low <= high < source.codes:
        wrong = low if low < 0 else high
        raise SpecError(f"target.codes: {source.name} gives the id {wrong}, but `codes` is {source.codes}")


def _require_grid(ids: Tensor, source: Source, grid: Grid) -> None:
    fits = ids.shape[1] == grid.patches if ids.ndim == 2 else ids.shape[1:] == (grid.rows, grid.cols)
    if not fits:
        size = " x ".join(map(str, ids.shape[1:]))
        raise SpecError(
            f"target: {source.name} cuts an image of {source.size} pixels into {size} tokens, but the student's view "
            f"has {grid.rows} x {grid.cols} patches; change the student's patch, the view's size, or the tokenizer"
        )
