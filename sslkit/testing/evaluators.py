"""Promises of evaluators."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from sslkit.core.backbone import Backbone
from sslkit.evaluate.subject import Sources, evaluate, reading_of
from sslkit.spec.families import EvaluatorSpec
from sslkit.testing.report import Checks, require
from sslkit.testing.stage import stage
from sslkit.testing.training import CPU
from sslkit.train.compose import compose
from sslkit.train.parallel import Single

Scores = Callable[[], dict[str, float]]


def checks(spec: EvaluatorSpec) -> Checks:
    """The checks of an evaluator's scores of an untrained network on labelled images."""
    return {"gives finite scores": partial(_finite, spec), "repeats its scores": partial(_repeats, spec)}


def _made(spec: EvaluatorSpec) -> Scores:
    """A function that evaluates one untrained network."""
    run = stage(evaluate=(spec,))
    composed = compose(run, Single(CPU))
    net = composed.system.nets["student"]
    assert isinstance(net, Backbone), "`nets` holds backbones"
    reading = reading_of(run, composed.env.views["global"], Single(CPU), composed.step.autocast)
    return lambda: evaluate(net, {0: spec}, run.data, reading, Sources())[spec.label]


def _finite(spec: EvaluatorSpec) -> None:
    require(
        bool(spec.build().protocol),
        "`protocol` is empty; it names the protocol and its version, as in `knn@1`",
    )
    scores = _made(spec)()
    require(bool(scores), "gives no metric")
    bad = [f"{name} = {value!r}" for name, value in scores.items() if not _is_number(value)]
    require(not bad, f"not a finite float: {', '.join(bad)}")


def _is_number(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _repeats(spec: EvaluatorSpec) -> None:
    scores, found = _made(spec), []
    for seed in (1, 2):  # of torch's generator, on which no score may depend
        torch.manual_seed(seed)
        found.append(scores())
    require(
        found[0] == found[1],
        f"{found[0]}, and {found[1]} again; draw from a generator seeded by `subject.seed`",
    )
