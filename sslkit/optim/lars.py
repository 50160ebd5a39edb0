"""The LARS optimizer, as published self-supervised runs have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import final

import torch
from torch import Tensor
from torch.optim import Optimizer

from sslkit.optim.timm_optimizer import Group
from sslkit.runtime.dtensor import like, local

Norms = Callable[[list[Tensor]], Sequence[Tensor]]
"""The norm of each tensor as a whole."""


@final
class LARS(Optimizer):
    """Momentum on gradients that are scaled to a share `trust` of the norm of their weights.

    For a weight w with gradient g: u = g + weight_decay w, then r = trust ||w|| / ||u|| (1 where a norm is 0),
    m = momentum m + r u, and w - lr m. That is the code of Barlow Twins (`main.py`), MoCo v3 (`moco/optimizer.py`), MAE
    (`util/lars.py`) and BYOL (`optimizers.py`), bit for bit the same arithmetic. timm's and lightly's have
    ||g|| + weight_decay ||w|| as denominator, and do nothing but SGD where the weight decay is 0.

    Args:
        params: groups; those with `decay` False are neither adapted nor decayed (r = 1), as all of these
            references do with biases and norm parameters.
        lr: learning rate.
        momentum: share of the old direction that is kept.
        weight_decay: added to the gradient times the weight, before norms are taken.
        trust: called eta there, 0.001 in all of them.
        norms: of whole tensors, where a rank holds shards.

    Under torch's `GradScaler` a step whose gradients are not finite changes nothing, as with torch's fused optimizers.
    """

    _step_supports_amp_scaling = True  # what torch's `GradScaler` asks for; it then sets `found_inf`

    def __init__(
        self,
        params: Iterable[Group],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
        norms: Norms = torch._foreach_norm,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        )
        self._norms = norms

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient, without a device sync."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        overflow: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._move(group, weights, overflow)
        return loss

    def _move(self, group: Group, weights: list[Tensor], overflow: Tensor | None) -> None:
        values = [local(p) for p in weights]
        updates = [local(p.grad) for p in weights if p.grad is not None]
        if group.get("decay", True):
            updates = list(torch._foreach_add(updates, values, alpha=group["weight_decay"]))
            placed = [like(update, p) for update, p in zip(updates, weights, strict=True)]
            ratios = _ratios(self._norms(weights), self._norms(placed), group["trust"])
            torch._foreach_mul_(updates, ratios)
        directions = [local(self._direction(p)) for p in weights]
        if overflow is not None:
            _move_where_finite(values, directions, updates, group, overflow > 0)
            return
        torch._foreach_mul_(directions, group["momentum"])
        torch._foreach_add_(directions, updates)
        torch._foreach_add_(values, directions, alpha=-group["lr"])

    def _direction(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _ratios(weights: Sequence[Tensor], updates: Sequence[Tensor], trust: float) -> list[Tensor]:
    """Per tensor, trust ||w|| / ||u||, or 1 where either norm is 0."""
    norms = zip(weights, updates, strict=True)
    return [torch.where((w > 0) & (u > 0), trust * w / u, torch.ones_like(w)) for w, u in norms]


def _move_where_finite(
    values: Sequence[Tensor],
    directions: Sequence[Tensor],
    updates: Sequence[Tensor],
    group: Group,
    overflow: Tensor,
) -> None:
    """The same step, or none at all where `overflow` (0-dim) is true."""
    for value, direction, update in zip(values, directions, updates, strict=True):
        moved = direction * group["momentum"] + update
        direction.copy_(torch.where(overflow, direction, moved))
        value.copy_(torch.where(overflow, value, value - group["lr"] * moved))
