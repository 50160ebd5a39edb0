"""`torch.compile` of a system: as one graph, in parts, or unit by unit where it is in shards."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sslkit.core.system import System
from sslkit.runtime.parallel import Parallel
from sslkit.specs.run import RunSpec
from sslkit.train.step.cached_tokens import Look

SPARE_GRAPHS = 7
"""Graphs of the forward that torch may make beside those that masks need; its own default for runs of one graph."""


def compiles(spec: RunSpec, device: torch.device) -> bool:
    """Whether this run compiles its forward."""
    return device.type == "cuda" if spec.compile.enabled is None else spec.compile.enabled


def compiled_look(
    system: System, spec: RunSpec, parallel: Parallel, shapes: Callable[[], int], *, in_parts: bool
) -> Look:
    """Compile `system` in place where this run compiles; return what makes the passes that masks need.

    `shapes`: how many shapes masks take; `in_parts` as in `compile_system`.
    """
    if not compiles(spec, parallel.device):
        return system.look
    if parallel.sharded:
        compile_shards(system, spec, shapes())
        return system.look
    compile_system(system, spec, shapes(), in_parts=in_parts)
    look: Look = torch.compile(system.look, **spec.compile.options())
    return look


def compile_system(system: System, spec: RunSpec, graphs: int = 1, *, in_parts: bool = False) -> None:
    """Compile the forward as one graph for each of the `graphs` shapes that masks take, in place.

    A balancer that weighs gradients on features makes it one for the student and one for each objective. So do micro-
    batches whose objectives see them all at once: `in_parts`.
    """
    in_parts = in_parts or system.balancer.space == "features"
    count = graphs * len(system.objectives) if in_parts else graphs  # objectives of one class share a cache
    _allow_graphs(system, spec, count)
    (system.compile_parts if in_parts else system.compile)(**spec.compile.options())


def compile_shards(system: System, spec: RunSpec, graphs: int = 1) -> None:
    """Compile each unit of the nets and each objective as a graph, in place; what gathers shards stays outside."""
    units = [unit for net in system.nets.values() for unit in net.units()]
    _allow_graphs(system, spec, graphs * (len(system.objectives) + 2 * len(spec.views) * len(units)))
    for unit in units:
        unit.forward = torch.compile(unit.forward, **spec.compile.options())  # hooks run around it
    for objective in system.objectives.values():
        objective.compile(**spec.compile.options())


def _allow_graphs(system: System, spec: RunSpec, count: int) -> None:
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, SPARE_GRAPHS + count)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 32 * config.recompile_limit)
    if system.balancer.weighs_gradients or spec.log.conflict is not None:
        torch._functorch.config.donated_buffer = (
            False  # K backwards through one forward read its buffers K times
        )
