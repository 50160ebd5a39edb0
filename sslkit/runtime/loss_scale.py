"""Loss scaling for float16, whose range is too small for gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor
from torch.optim import Optimizer

from sslkit.errors import SpecError

SKIPPABLE = ("adamw", "lars")
"""Optimizers whose update is skipped on the device, without waiting for it."""


@final
class LossScale:
    """torch's `GradScaler`: the scale halves where a gradient is not finite, and doubles after 2,000 finite steps.

    A step whose gradients are not finite updates no weights and no moments, on the device. Without float16 it does
    nothing at all.
    """

    def __init__(self, enabled: bool, device: torch.device) -> None:
        self.enabled = enabled
        if not enabled:
            return
        self._scaler = torch.amp.GradScaler(device.type)
        self._one = torch.ones((), device=device)
        self._scale = self._scaler.scale(self._one)  # makes its state on the device
        self._skipped = torch.zeros((), device=device)

    def scaled(self, total: Tensor) -> Tensor:
        """What to call `backward` of in place of `total`."""
        return self._scaler.scale(total) if self.enabled else total

    def unscale(self, optimizer: Optimizer) -> None:
        """Divide the gradients, once a step and before they are clipped."""
        if self.enabled:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> None:
        """The optimizer's step, unless a gradient is not finite; then the scale of the next one."""
        if not self.enabled:
            optimizer.step()
            return
        before = self._scaler.scale(self._one)
        self._scaler.step(optimizer)
        self._scaler.update()
        self._scale = self._scaler.scale(self._one)
        self._skipped.add_(self._scale < before)  # it falls after an overflow, and then only

    def metrics(self) -> dict[str, Tensor]:
        """For records: the scale from now on and the steps skipped so far."""
        if not self.enabled:
            return {}
        return {"loss_scale": self._scale, "skipped_steps": self._skipped.clone()}

    def state_dict(self) -> dict[str, float]:
        """For a checkpoint; waits for the device. Nothing without float16."""
        return {**self._scaler.state_dict(), "skipped_steps": self._skipped.item()} if self.enabled else {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """From a checkpoint. Raises KeyError where it has none of what is needed."""
        if self.enabled:
            kept = dict(state)
            self._skipped.fill_(kept.pop("skipped_steps"))
            self._scaler.load_state_dict(kept)


def require_scalable(optimizer: str, weighs_gradients: str | None, compares: bool, sharded: bool) -> None:
    """Pass where a run in float16 can scale its loss. `weighs_gradients`: where the spec has a balancer that does.

    Raises:
        SpecError: gradients are read one loss at a time or in shards, or the optimizer cannot skip a step.
    """
    reason = None
    if optimizer not in SKIPPABLE:
        names = " or ".join(f"`{name}`" for name in SKIPPABLE)
        reason = f"`optimizer.name: {optimizer}` cannot skip a step whose gradients overflow; use {names}"
    elif weighs_gradients is not None:
        reason = f"`{weighs_gradients}` weighs the gradients of each loss, which are not scaled apart"
    elif compares:
        reason = (
            "`log.conflict` compares the gradients of each loss, which are not scaled apart; leave it out"
        )
    elif sharded:
        reason = (
            "`parallel: fsdp` holds shards, in which ranks would see different overflows; use `parallel: ddp`"
        )
    if reason is not None:
        raise SpecError(
            f"precision: float16 scales the loss, and {reason}; or use `precision: bfloat16` or float32"
        )
