"""Builds views, nets, objectives and maskers from a spec, with the checks that need them built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from sslkit.build.maskers import make_maskers
from sslkit.build.start_weights import begin_with, learned_before
from sslkit.build.system import Inputs, length_of, make_system, make_views, read_inputs
from sslkit.core.context import Env, Length
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.data.sampler import BatchShare, Order
from sslkit.errors import DataError, SpecError
from sslkit.runtime.parallel import Parallel, start
from sslkit.runtime.rank_agreement import from_first_rank
from sslkit.specs.extension import order_problems
from sslkit.specs.families import SourceSpec
from sslkit.specs.run import RunSpec
from sslkit.train.step.stepper import Stepper


class Composed(NamedTuple):
    """The parts of a run, for people with a loop of their own."""

    system: System
    """Nets, objectives and balancer."""
    step: Stepper
    """`step(number, batches)` makes one optimizer step and returns the losses."""
    source: Source
    """The training images."""
    env: Env
    """Views, nets and grids."""
    order: Order
    """Which images make which step."""
    length: Length
    """Steps of the run and of an epoch."""
    inputs: Inputs = Inputs({})
    """What views know of the data beside the spec."""


def compose(spec: RunSpec, parallel: Parallel | None = None) -> Composed:
    """Build everything that a training loop of your own needs.

    Raises:
        SpecError: the parts do not fit; the message names the path in the spec.
        CheckpointError: the run to begin with has no such checkpoint, or a network that does not fit.
        DataError: there are no training images.
    """
    parallel = parallel or start(spec.device, spec.parallel)
    source = training_source(spec)
    inputs = inputs_for(spec, source, parallel)
    views = make_views(spec, inputs)
    order = make_order(spec, source, parallel)
    length = make_length(spec, order.steps_per_epoch)
    system, env = make_system(spec, views, length)
    begin_with(system, spec)
    stepper = Stepper(spec, system, make_maskers(system, env), length, parallel)
    return Composed(system, stepper, source, env, order, length, inputs)


class HasData(Protocol):
    """A `RunSpec`, or part of one."""

    @property
    def data(self) -> SourceSpec:
        """Where the images are."""
        ...


def training_source(spec: HasData) -> Source:
    """The training images of `spec`."""
    source = spec.data.build("train")
    if source is None:
        raise DataError("data: has no training split")
    return source


def inputs_for(
    spec: RunSpec, source: Source, parallel: Parallel, kept: Mapping[str, str] | None = None
) -> Inputs:
    """What views need to know of `source`, the same on all ranks: the first learns for all.

    Args:
        spec: the run. One that begins with another run reads symbols as that does, where a view has the same transform.
        source: its training samples.
        parallel: the ranks.
        kept: what the run has learned already, by view.

    Raises:
        DataError: a transform cannot learn from the samples.
        CheckpointError: the run to begin with cannot be read.
    """
    if kept is None and any(view.transform is not None for view in spec.views.values()):
        kept = from_first_rank(
            parallel, lambda: dict(read_inputs(spec, source, learned_before(spec)).learned)
        )
    return read_inputs(spec, source, kept)


def make_order(spec: RunSpec, source: Source, parallel: Parallel) -> Order:
    """The data order of this rank."""
    micro = spec.images_per_forward(parallel.world)
    share = BatchShare(parallel.rank, parallel.world, micro)
    return Order(len(source), spec.batch_size, spec.seed, share, source.blocks)


def make_length(spec: RunSpec, steps_per_epoch: int) -> Length:
    """How long the run is. Raises SpecError where it is not longer than when it was made longer."""
    steps = spec.steps if spec.steps is not None else (spec.epochs or 0) * steps_per_epoch
    for problem in order_problems(spec.extended, steps):
        raise SpecError(f"{problem.path}: {problem.message}")
    return length_of(spec, steps, steps_per_epoch)
