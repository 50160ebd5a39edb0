"""timm's optimizers by name, with the run's learning rate and their own defaults."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

from timm.optim import Muon, create_optimizer_v2, get_optimizer_class, get_optimizer_info, list_optimizers
from timm.optim._optim_factory import OptimInfo
from torch import nn
from torch.optim import Optimizer

from sslkit.errors import SpecError, reason_of
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.schedule import value_at

Group = dict[str, Any]
"""One of an optimizer's `param_groups`: its parameters under `params`, and their options."""

MOMENTUM = 0.9
"""Where neither the spec nor the optimizer's class has one, as timm's factory has it."""
NETWORKS = ("nets.", "backbone.")
"""What names of a network's parameters begin with; all others are of heads."""


def require_optimizer(name: str) -> OptimInfo:
    """What timm says about the optimizer called `name`.

    Raises:
        SpecError: there is none, or it needs second derivatives.
    """
    if name not in list_optimizers():
        close = difflib.get_close_matches(name, list_optimizers(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpecError(f"optimizer.name: timm has no optimizer {name!r}.{hint}")
    info = get_optimizer_info(name)
    if info.second_order:
        raise SpecError(f"optimizer.name: {name!r} needs second derivatives, which training does not compute")
    return info


def build(spec: OptimizerSpec, parameter_groups: list[Group], peak: float) -> Optimizer:
    """The optimizer; what `spec` leaves open is the optimizer's own. `peak`: the largest learning rate of the run.

    Corrected weight decay (`adamc`, `sgdc`, ...) is rate ** 2 / peak, and a layer with a share of the rate has that
    share of the peak.

    Raises:
        SpecError: timm has no such optimizer, it cannot be built, or it needs second derivatives.
    """
    info = require_optimizer(spec.name)
    options: dict[str, float | tuple[float, ...]] = {}
    if spec.betas is not None and info.has_betas and info.num_betas == 2:
        options["betas"] = tuple(value_at(beta, 0, 1) for beta in spec.betas)
    if spec.eps is not None and info.has_eps:
        options["eps"] = spec.eps
    try:
        if info.has_momentum:
            options["momentum"] = _momentum(info) if spec.momentum is None else value_at(spec.momentum, 0, 1)
        optimizer: Optimizer = create_optimizer_v2(
            parameter_groups, opt=spec.name, lr=peak, weight_decay=0.0, **options
        )
    except (TypeError, ValueError, AssertionError, ImportError, RuntimeError) as error:
        raise SpecError(f"optimizer: {spec.name!r} cannot be built: {reason_of(error)}") from None
    for group in optimizer.param_groups:
        if "max_lr_snapshot" in group:
            group["max_lr_snapshot"] = peak * group.get("lr_scale", 1.0)
    return optimizer


def outside_muon(name: str, named: Sequence[tuple[str, nn.Parameter]]) -> set[nn.Parameter]:
    """Of `named`, what the Muon that is called `name` updates by its AdamW; nothing where it is no Muon.

    Muon is for the weights inside a network (https://kellerjordan.github.io/posts/muon): the first layer, the last one
    of every head, embeddings, biases and norms are AdamW's. timm tells the last two kinds by their shape.
    """
    if name not in list_optimizers() or get_optimizer_info(name).opt_class is not Muon:
        return set()
    matrices = [(key, p) for key, p in named if p.ndim > 1]
    weights = [(key, p) for key, p in matrices if key.endswith("weight")]
    first = next((p for key, p in weights if key.startswith(NETWORKS)), None)
    last = {_head(key): p for key, p in weights if not key.startswith(NETWORKS)}
    embeddings = {p for key, p in matrices if not key.endswith("weight")}
    return embeddings | set(last.values()) | ({first} if first is not None else set())


def _head(key: str) -> str:
    """The module of an objective that a parameter belongs to: `objectives.byol.projector.layers.0.weight`."""
    return ".".join(key.split(".")[:3])


def _momentum(info: OptimInfo) -> float:
    optimizer = get_optimizer_class(
        info.name, bind_defaults=False
    )  # of other packages, `info` has the name only
    default = inspect.signature(optimizer).parameters["momentum"].default
    return float(default or MOMENTUM)
