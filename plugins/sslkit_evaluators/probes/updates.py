"""SGD, LARS and AdamW for many linear classifiers at once, each with its own rate and weight decay.

Shapes: D width, S settings, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, final

import torch
from torch import Tensor

Rule = Literal["sgd", "lars", "adamw"]

MOMENTUM = 0.9
TRUST = 1e-3  # of LARS; MAE `util/lars.py`
BETAS = (0.9, 0.999)  # of AdamW; torch
EPS = 1e-8  # of AdamW; torch


@final
class Updates:
    """Moves weights `[D, S, C]` and biases `[S, C]` in place. Biases are neither decayed nor adapted by LARS."""

    def __init__(self, rule: Rule, weight: Tensor, bias: Tensor, decay: Tensor) -> None:
        """`decay`: `[S, 1]`, added to gradients by `sgd` and `lars`, and apart from them by `adamw`."""
        self.parameters, self.decay, self.decays = (weight, bias), decay, bool((decay != 0).any())
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters] if rule == "adamw" else []
        self.steps = 0
        rules: Mapping[Rule, Callable[[Tensor, Tensor, Tensor], None]] = {
            "sgd": self._sgd,
            "lars": self._lars,
            "adamw": self._adamw,
        }
        self._move = rules[rule]

    def __call__(self, rate: Tensor, weight_slope: Tensor, bias_slope: Tensor) -> None:
        """One step at the rates `[S, 1]`, along gradients shaped as weights and biases."""
        self.steps += 1
        self._move(rate, weight_slope, bias_slope)

    def _sgd(self, rate: Tensor, weight_slope: Tensor, bias_slope: Tensor) -> None:
        if self.decays:
            weight_slope = torch.addcmul(weight_slope, self.decay, self.parameters[0])
        self._follow(rate, weight_slope, bias_slope)

    def _lars(self, rate: Tensor, weight_slope: Tensor, bias_slope: Tensor) -> None:
        """As `sslkit.optim.lars`, a classifier's weights being one tensor."""
        slope, weight = weight_slope + self.decay * self.parameters[0], self.parameters[0]
        weight_norm, slope_norm = (torch.linalg.vector_norm(x, dim=(0, 2))[:, None] for x in (weight, slope))
        ratio = torch.where(
            (weight_norm > 0) & (slope_norm > 0),
            TRUST * weight_norm / slope_norm,
            torch.ones_like(weight_norm),
        )
        self._follow(rate, slope * ratio, bias_slope)

    def _follow(self, rate: Tensor, *slopes: Tensor) -> None:
        """Momentum as torch's SGD has it."""
        for parameter, speed, slope in zip(self.parameters, self.first, slopes, strict=True):
            speed.mul_(MOMENTUM).add_(slope)
            if self.decays:
                parameter.addcmul_(
                    rate, speed, value=-1
                )  # no temporary; without decay the last bit stays as it was
            else:
                parameter.sub_(rate * speed)

    def _adamw(self, rate: Tensor, *slopes: Tensor) -> None:
        """As torch's AdamW."""
        self.parameters[0].mul_(1 - rate * self.decay)
        fixes = [1 - beta**self.steps for beta in BETAS]
        moments = zip(self.parameters, self.first, self.second, slopes, strict=True)
        for parameter, first, second, slope in moments:
            first.lerp_(slope, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
            parameter.sub_(rate / fixes[0] * first / ((second / fixes[1]).sqrt() + EPS))
