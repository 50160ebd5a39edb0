"""Token targets: code ids of a frozen tokenizer, whichever plugin offers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.core.passes import Tokens
from sslkit.core.target import Target
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError, reason_of
from sslkit.functional.precision import at_least_float32
from sslkit.nn.pixel_statistics import PixelNormalization
from sslkit.nn.token_colors import fixed_colors, token_image


@final
class Frozen(nn.Module):
    """A module without gradients that stays in evaluation mode."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """The module's output, from float32 images."""
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            out: Tensor = self.module(images.float())
        return out

    def train(self, mode: bool = True) -> Self:
        """Always evaluation mode."""
        return super().train(False)


@final
class TokenTarget(Target):
    """A class for each patch, its code's id, scored by cross-entropy. `token_target` makes one."""

    colors: Tensor

    def __init__(self, tokenizer: Frozen, view: View, grid: Grid, size: int, colors: Tensor) -> None:
        super().__init__()
        self.tokenizer, self.size, self.grid = tokenizer, size, grid
        self.dim = len(colors)
        self.register_buffer("colors", colors, persistent=False)
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


def token_target(
    make: Callable[[], nn.Module],
    view: View,
    grid: Grid,
    *,
    codes: int,
    size: int | None = None,
    colors: Tensor | None = None,
    name: str = "the tokenizer",
) -> TokenTarget:
    """The target whose classes are the code ids of a tokenizer, which is tried on a black picture.

    Args:
        make: gives the tokenizer, a module that turns images `[B, C, size, size]`, float32 in [0, 1], into code ids
            `[B, rows, columns]` or `[B, patches]`, int64. What it draws does not move the run's initial weights.
        view: whose crops are read.
        grid: patches of the view, as `env.grid(view)` has them; the tokenizer cuts its images into as many.
        codes: number of codes.
        size: side of the images that the tokenizer takes; crops are resized to it. Default: the view's.
        colors: `[codes, C]` in [0, 1], for figures. Default: random and always the same.
        name: what errors call the tokenizer.

    Raises:
        SpecError: the tokenizer cannot be made, its ids are none, or its patches are not those of `grid`.
    """
    side = view.size if size is None else size
    try:
        with torch.random.fork_rng(devices=[]):
            tokenizer = Frozen(make())
    except (RuntimeError, ValueError, TypeError) as error:
        raise SpecError(f"target: {name} cannot be made: {reason_of(error)}") from None
    try:
        ids = tokenizer(torch.zeros(1, view.channels, side, side))
    except (RuntimeError, ValueError, TypeError) as error:
        raise SpecError(f"target: {name} fails on an image of {side} pixels: {reason_of(error)}") from None
    _require_ids(ids, codes, name)
    _require_grid(ids, grid, side, name)
    return TokenTarget(
        tokenizer, view, grid, side, fixed_colors(codes, view.channels) if colors is None else colors
    )


def _require_ids(ids: object, codes: int, name: str) -> None:
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64 or ids.ndim not in (2, 3):
        shape = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise SpecError(
            f"target: {name} gives {shape}, expected int64 ids [B, rows, columns] or [B, patches]"
        )
    low, high = int(ids.min()), int(ids.max())
    if not 0 <= low <= high < codes:
        raise SpecError(f"target: {name} gives the id {low if low < 0 else high}, but has {codes} codes")


def _require_grid(ids: Tensor, grid: Grid, side: int, name: str) -> None:
    fits = ids.shape[1] == grid.patches if ids.ndim == 2 else ids.shape[1:] == (grid.rows, grid.cols)
    if not fits:
        cut = " x ".join(map(str, ids.shape[1:]))
        raise SpecError(
            f"target: {name} cuts an image of {side} pixels into {cut} tokens, but the student's view "
            f"has {grid.rows} x {grid.cols} patches; change the student's patch, the view's size, or the tokenizer"
        )
