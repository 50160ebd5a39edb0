"""Optimizers by name, parameter groups by weight decay and layer, and gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sslkit.core.backbone import Backbone
from sslkit.errors import SpecError
from sslkit.optim import timm_optimizer
from sslkit.optim.lars import LARS, Norms
from sslkit.optim.timm_optimizer import Group
from sslkit.runtime.dtensor import local, placed, sharded
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.schedule import Ramp, value_at

Moments = dict[str, float | tuple[float, ...]]
Named = Iterable[tuple[str, nn.Parameter]]
BETAS = (0.9, 0.95)
"""Of `adamw`: MAE's (`main_pretrain.py`)."""
PATCH_EMBEDDING = "patch_embed"
"""In the names of its parameters, as timm and DINOv2 call it."""
ADAM_EPS = 1e-8  # torch's default
CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_


def groups(
    spec: OptimizerSpec,
    decayable: Named,
    never: Iterable[nn.Parameter] = (),
    scales: Mapping[nn.Parameter, float] = MappingProxyType({}),
) -> list[Group]:
    """Parameter groups: with weight decay, and without; those that `scales` names by their scale too.

    One-dimensional parameters (biases, norm scales) and those that `no_decay` names are not decayed; class and mask
    tokens, which have more dimensions, are (timm's rule, PARITY: MAE). `never` joins those without decay.
    """
    named = [(name, parameter) for name, parameter in decayable if parameter.requires_grad]
    fallback = timm_optimizer.outside_muon(spec.name, named)
    members: dict[tuple[bool, float, bool], list[nn.Parameter]] = {
        (True, 1.0, False): [],
        (False, 1.0, False): list(never),
    }
    for name, parameter in named:
        excluded = name.endswith(spec.no_decay) if spec.no_decay else False
        one_dimensional = parameter.ndim <= 1 and not spec.decay_one_dimensional
        key = (not (excluded or one_dimensional), scales.get(parameter, 1.0), parameter in fallback)
        members.setdefault(key, []).append(parameter)
    return [_group(params, *key) for key, params in members.items() if params]


def _group(params: list[nn.Parameter], decay: bool, scale: float, fallback: bool) -> Group:
    group: Group = {"params": params, "decay": decay, "lr_scale": scale}
    return group | ({} if decay else {"weight_decay": 0.0}) | ({"use_fallback": True} if fallback else {})


class Rates(Protocol):
    """How a network is trained: `OptimizerSpec`, or that of a tower."""

    @property
    def layer_decay(self) -> float | None:
        """Learning rate of a layer over the next one's."""

    @property
    def patch_embed_rate(self) -> float:
        """Share of its learning rate that the patch embedding gets."""


def layer_scales(spec: Rates, backbone: Backbone, path: str = "optimizer") -> dict[nn.Parameter, float]:
    """Share of the learning rate that each parameter of `backbone` gets: `layer_decay` ** (depth + 1 - layer).

    MAE's rule (`util/lr_decay.py`): what follows the blocks, and every head, has the whole rate. The patch embedding,
    which DINOv2 tells by its name, has `patch_embed_rate` of its own (`utils/param_groups.py`).

    Raises:
        SpecError: the backbone does not say which layer a parameter belongs to, or has no patch embedding.
    """
    scales = _scales_by_depth(spec.layer_decay, backbone, path)
    if spec.patch_embed_rate == 1:
        return scales
    embedding = [p for name, p in backbone.named_parameters() if PATCH_EMBEDDING in name]
    if not embedding:
        raise SpecError(
            f"{path}.patch_embed_rate: {type(backbone).__name__} has no parameter with {PATCH_EMBEDDING!r} in its "
            "name; leave it out, or use a 'vit' or 'swin'"
        )
    return scales | {p: spec.patch_embed_rate * scales.get(p, 1.0) for p in embedding}


def _scales_by_depth(decay: float | None, backbone: Backbone, path: str) -> dict[nn.Parameter, float]:
    if decay is None:
        return {}
    try:
        return {
            p: decay ** (backbone.depth + 1 - backbone.layer_of(name))
            for name, p in backbone.named_parameters()
        }
    except SpecError as error:
        raise SpecError(f"{path}.layer_decay: {error}") from None


def make(
    spec: OptimizerSpec,
    parameter_groups: list[Group],
    norms: Norms = torch._foreach_norm,
    fused: bool = True,
    peak: float | None = None,
) -> Optimizer:
    """The optimizer called `spec.name`. Its learning rate and decay are set at each step.

    Args:
        spec: name, moments and eps.
        parameter_groups: as `groups` makes them.
        norms: of whole tensors, where a rank holds shards.
        fused: AdamW in one kernel, the fastest. Where a tensor may be cut it must not be: on a CPU that kernel rounds
            the last elements of a tensor, which fill no vector of the processor, in another way than the rest.
        peak: the run's largest learning rate. Default: `spec.lr`.

    Raises:
        SpecError: timm has no optimizer of that name, or it cannot be built, or it needs second derivatives.
    """
    rate = spec.lr if peak is None else peak
    if spec.name == "adamw":
        first, second = (value_at(beta, 0, 1) for beta in spec.betas or BETAS)
        eps = ADAM_EPS if spec.eps is None else spec.eps
        return torch.optim.AdamW(
            parameter_groups, lr=rate, betas=(first, second), eps=eps, fused=fused, foreach=not fused
        )
    if spec.name == "lars":
        momentum = timm_optimizer.MOMENTUM if spec.momentum is None else value_at(spec.momentum, 0, 1)
        return LARS(parameter_groups, rate, momentum, trust=spec.trust, norms=norms)
    return timm_optimizer.build(spec, parameter_groups, rate)


def remade(
    old: Optimizer, new: Optimizer, before: Mapping[str, nn.Parameter], now: Mapping[str, nn.Parameter]
) -> Optimizer:
    """`new`, which has no state yet, with the state of `old`: by name, as parameters were called before and are now.

    Numbers take the type of the parameter that they belong to.

    Raises:
        SpecError: a parameter that has state is gone.
    """
    lost = [name for name, p in before.items() if old.state.get(p) and name not in now]
    if lost:
        raise SpecError(
            f"the optimizer holds moments of {lost[0]!r}, which is no longer a parameter of the system; replace or "
            "parametrize it before the first step"
        )
    state = {now[name]: old.state[p] for name, p in before.items() if old.state.get(p)}
    places = {p: i for i, p in enumerate(p for group in new.param_groups for p in group["params"])}
    by_place = {places[p]: _laid_out(values, p) for p, values in state.items() if p in places}
    kept = {_key(group): group for group in old.param_groups}  # some count their steps there
    parameter_groups = [
        {**group, **kept.get(_key(group), {}), "params": group["params"]}
        for group in new.state_dict()["param_groups"]
    ]
    new.load_state_dict({"state": by_place, "param_groups": parameter_groups})
    return new


def _laid_out(values: Mapping[str, object], parameter: nn.Parameter) -> dict[str, object]:
    """State of a parameter in its order of memory; shards have one order only."""
    if sharded(parameter) is not None:
        return dict(values)
    return {name: placed(value, parameter) for name, value in values.items()}


def _key(group: Group) -> tuple[bool, float, bool]:
    """What sets a group apart from others."""
    return group["decay"], group["lr_scale"], group.get("use_fallback", False)


def scheduled_moments(spec: OptimizerSpec, step: int, total: int) -> Moments:
    """`momentum` and `betas` at `step` of `total`, those of them that change over the run."""
    changing: Moments = {}
    if isinstance(spec.momentum, Ramp):
        changing["momentum"] = spec.momentum.at(step, total)
    if spec.betas is not None and any(isinstance(beta, Ramp) for beta in spec.betas):
        changing["betas"] = tuple(value_at(beta, step, total) for beta in spec.betas)
    return changing


def assign(
    optimizer: Optimizer,
    lr: float,
    weight_decay: float,
    moments: Mapping[str, float | tuple[float, ...]] = MappingProxyType({}),
) -> None:
    """Set the learning rate of every group, times its scale, the weight decay of those that have any, and `moments`.

    Raises:
        SpecError: the optimizer has no such moment that could change.
    """
    for group in optimizer.param_groups:
        for name, value in moments.items():
            if name not in group:
                raise SpecError(
                    f"optimizer.{name}: {type(optimizer).__name__} has no `{name}` that could change over the run; "
                    f"give a number"
                )
            group[name] = value
        group["lr"] = lr * group["lr_scale"]
        if group["decay"]:
            group["weight_decay"] = weight_decay


def clip(
    parameters: Sequence[nn.Parameter], limit: float, per: str, norms: Norms = torch._foreach_norm
) -> Tensor:
    """Scale gradients in place to a norm of at most `limit`, without a device sync; return their global norm.

    `norms`: of whole tensors, where a rank holds shards.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    gradient_norms, values = norms(gradients), [local(gradient) for gradient in gradients]
    total: Tensor = torch.linalg.vector_norm(torch.stack(list(gradient_norms)))
    if per == "tensor":
        torch._foreach_mul_(values, [(limit / (norm + CLIP_EPS)).clamp(max=1.0) for norm in gradient_norms])
    else:
        torch._foreach_mul_(values, (limit / (total + CLIP_EPS)).clamp(max=1.0))
    return total
