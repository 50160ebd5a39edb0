"""Moving averages: teacher nets and the twins of objectives, in one fused update per net."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.core.backbone import Backbone
from sslkit.core.objective import Objective
from sslkit.errors import SpecError
from sslkit.spec.parts import NetSpec
from sslkit.spec.schedule import value_at
from sslkit.train.shards import local


def frozen_copy(net: Backbone) -> Backbone:
    """A copy that never trains: no gradients, no dropout or stochastic depth."""
    return copy.deepcopy(net).requires_grad_(False).eval()


def set_modes(nets: Mapping[str, nn.Module], specs: Mapping[str, NetSpec]) -> None:
    """Training mode for the student. Others are in evaluation mode, except batch norm that uses its own batch."""
    for name, net in nets.items():
        net.train(name == "student")
        if name in specs and specs[name].backbone is None and specs[name].batch_norm == "batch":
            for module in net.modules():
                if isinstance(module, _BatchNorm):
                    module.train()


@final
class Averages:
    """average <- momentum * average + (1 - momentum) * online: parameters, and batch-norm statistics if asked for."""

    def __init__(
        self, specs: Mapping[str, NetSpec], nets: Mapping[str, nn.Module], objectives: Mapping[str, Objective]
    ) -> None:
        self._specs = specs
        self._pairs: dict[str, tuple[list[Tensor], list[Tensor]]] = {
            name: _pair(_values(nets["student"], spec), _values(nets[name], spec))
            for name, spec in specs.items()
            if spec.backbone is None
        }
        for label, objective in objectives.items():
            for online, average in objective.twins.items():
                self._add_twin(label, objective, online, average)

    def _add_twin(self, label: str, objective: Objective, online: str, average: str) -> None:
        if objective.follows not in self._pairs:
            raise SpecError(
                f"objectives.{label}: needs a net {objective.follows!r} whose momentum its heads follow; "
                f"add `nets: {{{objective.follows}: {{}}}}`"
            )
        pairs = _pair(
            dict(objective.get_submodule(online).named_parameters()),
            dict(objective.get_submodule(average).named_parameters()),
        )
        for ours, theirs in zip(self._pairs[objective.follows], pairs, strict=True):
            ours.extend(theirs)

    @torch.no_grad()
    def update(self, when: str, step: int, total: int) -> None:
        """Move the nets that update at `when`, by their momentum at `step` of `total`."""
        for name, (online, average) in self._pairs.items():
            spec = self._specs[name]
            if spec.update == when and average:
                torch._foreach_lerp_(average, online, 1.0 - value_at(spec.momentum, step, total))


def _values(net: nn.Module, spec: NetSpec) -> dict[str, Tensor]:
    """What is averaged: parameters, and the statistics of batch norm where the net uses averaged ones."""
    statistics = {
        f"{prefix}.{name}": buffer
        for prefix, module in net.named_modules()
        if isinstance(module, _BatchNorm) and spec.batch_norm == "average"
        for name, buffer in module.named_buffers(recurse=False)
        if buffer.is_floating_point()
    }
    return dict(net.named_parameters()) | statistics


def _pair(online: Mapping[str, Tensor], average: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """This rank's values of common names: what only the student has (a mask token) is left out, as iBOT does."""
    common = [(online[name], p) for name, p in average.items() if name in online]
    for a, b in common:
        if a.shape != b.shape:
            raise SpecError(f"twins differ in shape: {tuple(a.shape)} and {tuple(b.shape)}")
    return [local(a) for a, _ in common], [local(b) for _, b in common]
