"""Conformance checks of balancers, besides those by training."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sslkit.core.balancer import Balancer
from sslkit.core.context import Length
from sslkit.runtime import seeds
from sslkit.specs.families import BalancerSpec
from sslkit.testing.kit_report import Checks, NotOffered, require
from sslkit.testing.promises.purity import called_purely

NAMES = ("one", "two", "three")
LENGTH = Length(steps=12, steps_per_epoch=4)
SLACK = 1e-4
"""Relative error that is let pass between a factor and the slope that it names."""


def checks(spec: BalancerSpec) -> Checks:
    """The checks of a balancer's arithmetic for three losses."""
    return {
        "joins losses to a finite scalar": partial(_joins, spec),
        "names the factors that it multiplies by": partial(_factors, spec),
        "weighs gradients by their products alone": partial(_weighs, spec),
    }


def _built(spec: BalancerSpec) -> Balancer:
    torch.manual_seed(1)
    balancer = spec.build(list(NAMES))
    balancer.prepare(LENGTH)
    return balancer


def _losses() -> Tensor:
    return torch.tensor([0.5, 2.0, 1.25], requires_grad=True)


def _joins(spec: BalancerSpec) -> None:
    """In the first step and in later ones, of which it may learn."""
    balancer = _built(spec)
    for step in range(3):
        total = called_purely(balancer, lambda: balancer(_losses()), "`forward`")
        require(total.ndim == 0, f"`forward` gives {tuple(total.shape)}, expected a scalar")
        require(bool(total.isfinite()), f"`forward` gives {total.item()} for losses of 0.5 to 2")
        with torch.no_grad():
            balancer.commit(_losses().detach() * (step + 1), _gram() if balancer.weighs_gradients else None)


def _factors(spec: BalancerSpec) -> None:
    balancer = _built(spec)
    losses = _losses()
    total, factors = balancer(losses), balancer.factors()
    if factors is None:
        raise NotOffered("has no factors to name")
    require(factors.shape == (len(NAMES),), f"`factors` gives {tuple(factors.shape)}, expected one a loss")
    (slope,) = torch.autograd.grad(total, losses)
    same = torch.allclose(slope.double(), factors.detach().double(), rtol=SLACK, atol=SLACK)
    require(
        same,
        f"`factors` says {[round(float(x), 4) for x in factors.detach()]}, but `forward` multiplies the losses by "
        f"{[round(float(x), 4) for x in slope]}",
    )


def _gram() -> Tensor:
    rows = torch.randn(len(NAMES), 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return rows @ rows.mT


def _weighs(spec: BalancerSpec) -> None:
    balancer = _built(spec)
    if not balancer.weighs_gradients:
        raise NotOffered("weighs losses only")
    repeats = []
    for _ in range(2):
        draw = seeds.draw(0, "balance", rows=torch.zeros(1, dtype=torch.int64))
        repeats.append(called_purely(balancer, lambda: balancer.weigh(_gram(), draw), "`weigh`"))  # noqa: B023
    weights = repeats[0]
    right = weights.shape == (len(NAMES),) and weights.dtype == torch.float64
    require(right, f"`weigh` gives {weights.dtype} {tuple(weights.shape)}, expected float64 ({len(NAMES)},)")
    require(bool(weights.isfinite().all()), f"`weigh` gives {weights.tolist()}")
    require(torch.equal(*repeats), "`weigh` gives other weights for equal arguments; draw from `draw` only")
