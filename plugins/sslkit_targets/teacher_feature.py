"""Teacher feature targets: of one depth, of several, or their average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.feature_targets import plain_layer_norm, principal_colors, spread
from sslkit.functional.precision import at_least_float32
from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Encode, Target, Tokens
from sslkit.nn.pixel_statistics import PixelNormalization
from sslkit.plugin import Env


class Features(NamedTuple):
    """Which features, how they become a goal, and how a guess is scored."""

    net: str
    blocks: tuple[int, ...]
    """Blocks whose outputs are read; none for the net's end, after its own final norm."""
    normalize: bool
    """Layer norm without scale and shift of each block's output."""
    average: bool
    """Mean over the blocks; otherwise one after the other."""
    final_norm: bool
    """Layer norm without scale and shift of the result."""
    loss: str
    beta: float
    """Of `smooth_l1`."""
    weights: tuple[float, ...] = (1.0,)
    """Of as many equal parts of the goal, which are scored apart."""


@final
class FeatureTarget(Target):
    """Patch tokens that a net has for the whole image (data2vec, EVA, perceptual losses)."""

    weights: Tensor

    def __init__(self, features: Features, env: Env, view: str) -> None:
        super().__init__()
        self.features, self.grid = features, env.grid(view)
        self.passes = (Encode(view, net=features.net, layers=features.blocks),)
        self.dim = env.net(features.net).dim * (1 if features.average else max(1, len(features.blocks)))
        shown = env.view(view)
        self.register_buffer("weights", torch.tensor(features.weights), persistent=False)
        self.normalize = PixelNormalization(shown.mean, shown.std, len(shown.sides))

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N, dim]`, in at least float32 (data2vec `engine_for_cyclical.py:66-99`)."""
        (teacher,) = more
        norm = plain_layer_norm if self.features.normalize else at_least_float32
        parts = [norm(x) for x in [layer[:, :, 1:] for layer in teacher.layers] or [teacher.patch]]
        averaged = self.features.average
        goal = sum(parts[1:], start=parts[0]) / len(parts) if averaged else torch.cat(parts, dim=-1)
        return plain_layer_norm(goal) if self.features.final_norm else goal

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Weighted sum over the parts of each patch's goal, `[L]`."""
        guesses, goals = (x.unflatten(-1, (len(self.weights), -1)) for x in (guess, goal))
        errors = regression(guesses, goals, self.features.loss, self.features.beta)
        return (errors * self.weights).sum(-1)

    def metrics(self, guess: Tensor, goal: Tensor, real: Tensor) -> Mapping[str, Tensor]:
        """Deviations of goals and predictions over the hidden patches: near 0, all patches look alike (collapse)."""
        return {"target_std": spread(goal, real), "prediction_std": spread(guess, real)}

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor:
        """The predictions in the colors of the goal, `[V, B, C, H, W]`."""
        return self._colors(guess, self(seen, *more))

    def goal_image(self, goal: Tensor, seen: Tokens) -> Tensor:
        """The goal's first principal components over the batch as colors, `[V, B, C, H, W]`."""
        return self._colors(goal, goal)

    def _colors(self, features: Tensor, goal: Tensor) -> Tensor:
        """A square for each patch, normalized as the view's images are."""
        colors = principal_colors(features, goal, self.normalize.channels)
        image = colors.unflatten(-2, self.grid.shape).movedim(-1, 2)
        for axis, side in enumerate(self.grid.sides, start=3):
            image = image.repeat_interleave(side, dim=axis)
        painted: Tensor = self.normalize(image)
        return painted
