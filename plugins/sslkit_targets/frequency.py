"""Low-pass filtered pixel targets."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.functional.low_pass import low_pass, low_pass_filter
from sslkit.functional.patches import patch_statistics, patchify, unpatchify
from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Target, Tokens
from sslkit.plugin import Grid, View


@final
class FrequencyTarget(Target):
    """Pixels of the low-pass filtered crop in the order (row, column, channel), possibly normalized by patch."""

    passed: Tensor

    def __init__(self, cutoff: float, normalized: bool, loss: str, grid: Grid, view: View) -> None:
        """`cutoff` is the radius kept in the spectrum, as a share of the Nyquist frequency."""
        super().__init__()
        self.normalized, self.loss, self.grid = normalized, loss, grid
        self.dim = grid.patch**2 * view.channels
        self.register_buffer("passed", low_pass_filter(view.size, view.size, cutoff), persistent=False)

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N, dim]`."""
        patches = self._patches(seen)
        if not self.normalized:
            return patches
        mean, scale = patch_statistics(patches)
        return (patches - mean) / scale

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Mean error over the pixels of each patch, `[L]`."""
        return regression(guess, goal, self.loss)

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor:
        """The predictions, with each filtered patch's mean and scale put back: `[V, B, C, H, W]`."""
        if self.normalized:
            mean, scale = patch_statistics(self._patches(seen))
            guess = guess * scale + mean
        return unpatchify(guess, self.grid.patch, self.grid.rows)

    def goal_image(self, goal: Tensor, seen: Tokens) -> Tensor:
        """The filtered crop."""
        return self.to_image(goal, seen)

    def _patches(self, seen: Tokens) -> Tensor:
        return patchify(low_pass(seen.image, self.passed), self.grid.patch)
