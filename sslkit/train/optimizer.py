"""Optimizers by name, weight-decay groups and gradient clipping."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers
from torch import Tensor, nn
from torch.optim import Optimizer

from sslkit.errors import SpecError
from sslkit.spec.parts import OptimizerSpec

Named = Iterable[tuple[str, nn.Parameter]]
CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_


def groups(spec: OptimizerSpec, decayable: Named, never: Iterable[nn.Parameter] = ()) -> list[dict[str, Any]]:
    """Two parameter groups: with weight decay, and without.

    One-dimensional parameters (biases, norm scales) and those that `no_decay` names are not decayed; class and mask
    tokens, which have more dimensions, are (timm's rule, PARITY: MAE). `never` joins the second group.
    """
    decayed: list[nn.Parameter] = []
    kept = list(never)
    for name, parameter in decayable:
        if not parameter.requires_grad:
            continue
        excluded = name.endswith(spec.no_decay) if spec.no_decay else False
        one_dimensional = parameter.ndim <= 1 and not spec.decay_one_dimensional
        (kept if excluded or one_dimensional else decayed).append(parameter)
    named = ({"params": decayed, "decay": True}, {"params": kept, "decay": False, "weight_decay": 0.0})
    return [group for group in named if group["params"]]


def make(spec: OptimizerSpec, parameter_groups: list[dict[str, Any]]) -> Optimizer:
    """The optimizer called `spec.name`. Its learning rate and decay are set at each step.

    Raises:
        SpecError: timm has no optimizer of that name, or it cannot be built, or it needs second derivatives.
    """
    eps: dict[str, Any] = {} if spec.eps is None else {"eps": spec.eps}
    if spec.name == "adamw":
        return torch.optim.AdamW(parameter_groups, lr=spec.lr, betas=spec.betas, fused=True, **eps)
    if spec.name not in list_optimizers():
        close = difflib.get_close_matches(spec.name, list_optimizers(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpecError(f"optimizer.name: timm has no optimizer {spec.name!r}.{hint}")
    info = get_optimizer_info(spec.name)
    if info.second_order:
        raise SpecError(
            f"optimizer.name: {spec.name!r} needs second derivatives, which training does not compute"
        )
    extra: dict[str, Any] = {"betas": spec.betas} if info.has_betas and info.num_betas == 2 else {}
    extra |= eps if info.has_eps else {}
    try:
        made: Optimizer = create_optimizer_v2(
            parameter_groups, opt=spec.name, lr=spec.lr, weight_decay=0.0, momentum=spec.momentum, **extra
        )
    except (TypeError, ValueError, AssertionError, ImportError, RuntimeError) as error:
        raise SpecError(f"optimizer: {spec.name!r} cannot be built: {error}") from None
    return made


def assign(optimizer: Optimizer, lr: float, weight_decay: float) -> None:
    """Set the learning rate of every group, and the weight decay of those that have any."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if group["decay"]:
            group["weight_decay"] = weight_decay


def clip(parameters: Sequence[nn.Parameter], limit: float, per: str) -> Tensor:
    """Scale gradients in place to a norm of at most `limit`, without a device sync; return their global norm."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch._foreach_norm(gradients)
    total: Tensor = torch.linalg.vector_norm(torch.stack(list(norms)))
    if per == "tensor":
        torch._foreach_mul_(gradients, [(limit / (norm + CLIP_EPS)).clamp(max=1.0) for norm in norms])
    else:
        torch._foreach_mul_(gradients, (limit / (total + CLIP_EPS)).clamp(max=1.0))
    return total
