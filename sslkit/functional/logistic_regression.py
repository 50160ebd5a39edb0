"""Multinomial logistic regression by L-BFGS. Shapes: N images, D width, C classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-6
"""Largest entry of the gradient at which a fit ends."""
HISTORY = 10  # scipy's and so scikit-learn's
AT_ONCE = 1 << 16
"""Images whose logits are held at a time."""


class Fitted(NamedTuple):
    """A classifier."""

    weight: Tensor
    """`[D, C]` float64."""
    bias: Tensor
    """`[C]` float64."""

    def logits(self, values: Tensor) -> Tensor:
        """`[N, C]` float64."""
        return values.double() @ self.weight + self.bias


def fit_logistic(
    values: Tensor,
    labels: Tensor,
    classes: int,
    strength: float,
    iterations: int,
    start: Fitted | None = None,
) -> Fitted:
    """The minimum of mean cross-entropy + |weights|^2 / (2 `strength` N), in float64.

    `strength` is scikit-learn's C: the penalty's inverse, beside a sum over images. Biases are not penalized.

    Args:
        values: `[N, D]`.
        labels: `[N]`.
        classes: C.
        strength: above 0.
        iterations: of L-BFGS, at most.
        start: where to begin; zeros by default.
    """
    # an offset of the features goes into the biases, which are free: the same minimum, found in far fewer steps
    mean = values.double().mean(0)
    values = values.double() - mean
    weight = torch.zeros(values.shape[1], classes, dtype=torch.float64, device=values.device)
    bias = torch.zeros(classes, dtype=torch.float64, device=values.device)
    if start is not None:
        weight, bias = start.weight.clone(), start.bias + mean @ start.weight
    penalty = 1 / (strength * len(labels))

    def closure() -> Tensor:
        loss, slope, bias.grad = _slopes(values, labels, weight, bias)
        weight.grad = slope + penalty * weight
        return loss + penalty / 2 * weight.square().sum()

    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=iterations, max_eval=2 * iterations, tolerance_grad=TOLERANCE,
        tolerance_change=1e-12, history_size=HISTORY, line_search_fn="strong_wolfe",
    )  # fmt: skip
    optimizer.step(closure)  # type: ignore[no-untyped-call, unused-ignore]
    return Fitted(weight, bias - mean @ weight)


def _slopes(values: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean cross-entropy and its gradients by weights and biases."""
    loss, weight_slope, bias_slope = (
        torch.zeros_like(bias[0]),
        torch.zeros_like(weight),
        torch.zeros_like(bias),
    )
    for part, goal in zip(values.split(AT_ONCE), labels.split(AT_ONCE), strict=True):
        chance = (part @ weight + bias).log_softmax(1)
        loss -= chance.gather(1, goal[:, None]).sum()
        slope = chance.exp_()
        slope.scatter_add_(1, goal[:, None], slope.new_full((len(goal), 1), -1.0))
        weight_slope += part.T @ slope
        bias_slope += slope.sum(0)
    count = len(labels)
    return loss / count, weight_slope / count, bias_slope / count
