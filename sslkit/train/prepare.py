"""Builds a run before its first step, and reports all problems at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar, final

import torch

from sslkit.build.maskers import Maskers, make_maskers
from sslkit.build.start_weights import Begun, begin_with
from sslkit.build.system import Inputs, make_system, make_views
from sslkit.core.context import Env, Length
from sslkit.core.problem import Problem
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.core.view import View
from sslkit.data.sampler import Order
from sslkit.errors import DataError, SpecError, SslkitError
from sslkit.evaluate.evaluation_sources import Sources, evaluator_problems
from sslkit.optim.timm_optimizer import require_optimizer
from sslkit.runtime.parallel import Parallel
from sslkit.specs.check import notes, too_few_on_a_rank
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed, inputs_for, make_length, make_order, training_source
from sslkit.train.step.stepper import Stepper
from sslkit.train.unused_when_built import (
    OURS,
    training_problems,
    unused_for_images,
    unused_in_memory,
    unused_when_built,
)

T = TypeVar("T")


class Parts(NamedTuple):
    """A run that can begin, before its network is moved to a device."""

    source: Source
    """The training images."""
    sources: Sources
    """All images, opened once."""
    order: Order
    length: Length
    system: System
    env: Env
    maskers: Maskers
    inputs: Inputs
    """What views know of the data beside the spec."""
    begun: Begun | None
    """What the networks took of another run."""
    notes: list[str]
    """`path: reason` of fields that were set and that a switch of the spec turned off."""

    def composed(self, spec: RunSpec, parallel: Parallel) -> Composed:
        """The parts of a training loop, on the device of `parallel`."""
        stepper = Stepper(spec, self.system, self.maskers, self.length, parallel)
        return Composed(self.system, stepper, self.source, self.env, self.order, self.length, self.inputs)


def prepare(
    spec: RunSpec, parallel: Parallel, began: bool = False, learned: Mapping[str, str] | None = None
) -> Parts:
    """Build a run, and check it against its images.

    Args:
        spec: the run.
        parallel: the ranks that share a batch.
        began: whether it is a run that goes on, whose fields without effect are not refused any more.
        learned: what its transforms learned when it began, by view. Default: they learn now.

    Raises:
        SslkitError: a line for everything that is wrong, with its path in the spec.
    """
    problems, sources = Problems(), Sources()
    source = training_source(spec)
    sources.put(spec.data, "train", source)
    order = problems.of(lambda: make_order(spec, source, parallel))
    length = None if order is None else problems.of(partial(make_length, spec, order.steps_per_epoch))
    length = length or Length(spec.steps or spec.epochs or 1, 1)
    inputs = problems.of(lambda: inputs_for(spec, source, parallel, learned))
    views = None if inputs is None else problems.of(lambda: make_views(spec, inputs))
    system, env, maskers = _built(spec, views, length, problems)
    begun = None
    if system is not None and not began:
        begun = problems.of(partial(begin_with, system, spec))
    if spec.optimizer.name not in OURS:
        problems.of(lambda: require_optimizer(spec.optimizer.name))
    problems.add(too_few_on_a_rank(spec, parallel.world))
    switched_off: list[str] = []
    if system is not None and maskers is not None and not began:
        switched_off = notes(spec)
        problems.add(unused_when_built(spec, system, maskers.values()))
        problems.add(training_problems(system))
    net = None if system is None else system.nets[spec.readout.net]
    with torch.random.fork_rng(devices=[]):  # what is checked must not move the run's random numbers
        problems.add(
            evaluator_problems(spec.evaluate, spec.data, sources, source.channels, net, spec.readout.pool)
        )
        if not began:
            problems.add(unused_for_images(spec, sources, net))
            idle = unused_in_memory(spec, source, sources, parallel.device)
            switched_off += [f"{problem.path}: {problem.message}" for problem in idle]
    problems.require_none()
    assert order is not None, "it did not fail"
    assert inputs is not None, "it did not fail"
    assert system is not None, "it did not fail"
    assert env is not None, "it came with the system"
    assert maskers is not None, "they did not fail"
    return Parts(source, sources, order, length, system, env, maskers, inputs, begun, switched_off)


def _built(
    spec: RunSpec, views: dict[str, View] | None, length: Length, problems: Problems
) -> tuple[System | None, Env | None, Maskers | None]:
    system_and_env = None if views is None else problems.of(lambda: make_system(spec, views, length))
    if system_and_env is None:
        return None, None, None
    system, env = system_and_env
    return system, env, problems.of(lambda: make_maskers(system, env))


@final
class Problems:
    """Errors that are kept, so that all are told at once."""

    def __init__(self) -> None:
        self._lines: dict[str, type[SslkitError]] = {}

    def of(self, make: Callable[[], T]) -> T | None:
        """What `make` returns; None where it raises, and its error is kept."""
        try:
            return make()
        except SslkitError as error:
            self._lines.setdefault(str(error), type(error))
            return None

    def add(self, problems: Iterable[Problem]) -> None:
        """Keep `problems`."""
        for problem in problems:
            of_data = problem.path.count(".") == 1 and problem.path.startswith("evaluate.")
            self._lines.setdefault(f"{problem.path}: {problem.message}", DataError if of_data else SpecError)

    def require_none(self) -> None:
        """Raise one error with a line for each; its class is that of the first."""
        if self._lines:
            raise next(iter(self._lines.values()))("\n".join(self._lines))
