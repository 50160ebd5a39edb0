"""The checks of each family."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sslkit.spec.base import Spec
from sslkit.spec.explain import problems
from sslkit.spec.families import EvaluatorSpec
from sslkit.spec.parts import LogSpec, ViewSpec
from sslkit.spec.run import RunSpec
from sslkit.testing import (
    augments,
    backbones,
    evaluators,
    loggers,
    maskers,
    objectives,
    sources,
    training,
)
from sslkit.testing.micro_batches import require_same_step
from sslkit.testing.report import Checks, require
from sslkit.testing.stage import IMAGE, Probe, evaluated, helper, stage

_PARTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "backbone": lambda spec: {"backbone": spec},
    "masker": lambda spec: {"objectives": {"check": _mae(masker=spec)}},
    "target": lambda spec: {"objectives": {"check": _mae(target=spec)}},
    "objective": lambda spec: {"objectives": {"check": spec}},
    "balancer": lambda spec: {"objectives": {"one": Probe(), "two": Probe(view="local")}, "balance": spec},
    "source": lambda spec: {"data": spec},
    "augment": lambda spec: {"views": {"global": ViewSpec.model_construct(size=IMAGE, augment=(spec,))}},
    "logger": lambda spec: {"log": LogSpec.model_construct(loggers=(spec,))},
}
"""Family -> the fields of a run that hold a spec of it."""

_OWN: dict[str, Callable[[Any], Checks]] = {
    "backbone": backbones.checks,
    "masker": maskers.checks,
    "objective": objectives.checks,
    "source": sources.checks,
    "augment": augments.checks,
    "logger": loggers.checks,
    "evaluator": evaluators.checks,
}
"""Family -> checks of what only it promises."""

_TRAINED = ("backbone", "target", "objective", "balancer")


def checks(spec: Spec) -> Checks:
    """Everything that can be tried with `spec`.

    Raises:
        PluginError: a kind that the kit needs beside it is not there.
    """
    run = evaluated(spec) if isinstance(spec, EvaluatorSpec) else stage(**_PARTS[spec.family](spec))
    own = _OWN[spec.family](spec) if spec.family in _OWN else {}
    trained = _trained(run) if spec.family in _TRAINED else {}
    return {"fits the kit's run": partial(_fits, run), **own, **trained}


def _trained(run: RunSpec) -> Checks:
    halves = partial(require_same_step, run, run.batch_size // 2)
    return {**training.checks(run), "makes the same step in micro-batches": halves}


def _mae(**parts: Spec) -> Spec:
    return helper("objective", "mae").model_copy(update=parts)


def _fits(run: RunSpec) -> None:
    said = [f"{problem.path}: {problem.message}" for problem in problems(run)]
    require(not said, "; ".join(said))
