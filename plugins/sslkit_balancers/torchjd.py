"""Aggregators of the torchjd package."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.interfaces import Draw
from sslkit.plugin import SpecError
from sslkit_balancers.gram import Rule

INSTALL = 'install it with `pip install "sslkit[torchjd]"`'


def rule(name: str, options: Mapping[str, Any], count: int) -> Rule:
    """How torchjd's aggregator `name`, made with `options`, weighs `count` gradients.

    Raises:
        SpecError: there is no such aggregator, it needs more than products of gradients or keeps state between steps,
            or it refuses `options` or lacks a package.
    """
    weighting = _weighting(name, options, count)

    def weigh(gram: Tensor, draw: Draw) -> Tensor:
        if not gram.isfinite().all():  # solvers would raise, before the run can say whose loss it was
            return torch.full_like(gram[0], torch.nan)
        with torch.random.fork_rng(devices=[]):  # some draw from torch's own generator
            torch.default_generator.manual_seed(draw.key)
            weights: Tensor = weighting(gram)
        return weights

    return weigh


def _weighting(name: str, options: Mapping[str, Any], count: int) -> nn.Module:
    try:
        from torchjd import Stateful, aggregation
    except ImportError as error:
        raise SpecError(f"needs the package torchjd ({error}); {INSTALL}") from None
    fit = {
        key: cls
        for key, cls in vars(aggregation).items()
        if inspect.isclass(cls)
        and issubclass(cls, aggregation.GramianWeightedAggregator)
        and not issubclass(cls, Stateful)
        and cls is not aggregation.GramianWeightedAggregator
    }
    if name not in fit:
        raise SpecError(
            f"aggregator: {name!r} is no aggregator of torchjd that weighs by products of gradients and "
            f"keeps no state. Known: {', '.join(sorted(fit))}"
        )
    try:
        weighting: nn.Module = fit[name](**options).gramian_weighting
        with torch.random.fork_rng(devices=[]):
            weighting(torch.eye(count, dtype=torch.float64))  # some look at their arguments only now
    except (TypeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"options: torchjd's {name} cannot be used with them: {reason}") from None
    return weighting
