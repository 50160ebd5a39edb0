"""Conformance checks of evaluators."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import Scores, Setting, Split
from sslkit.core.source import Source
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import reading_of
from sslkit.evaluate.subject import evaluate
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.parallel import Single
from sslkit.specs.families import EvaluatorSpec
from sslkit.specs.metrics import mismatches
from sslkit.testing.kit_report import Checks, require
from sslkit.testing.promises.training_promises import CPU
from sslkit.testing.tiny_run import Noise, bare, evaluated
from sslkit.train.compose import compose

Score = Callable[[], Scores]


def checks(spec: EvaluatorSpec) -> Checks:
    """The checks of an evaluator's scores of an untrained network on labeled images."""
    return {
        "gives finite scores": partial(_finite, spec),
        "reports the metrics that it declares": partial(_declared, spec),
        "gives predictions, tables and figures that can be stored": partial(_storable, spec),
        "says before a run what it needs": partial(_requires, spec),
        "repeats its scores": partial(_repeats, spec),
        "leaves the network as it was": partial(_harmless, spec),
    }


def _untrained(spec: EvaluatorSpec) -> tuple[Score, Backbone]:
    """A function that evaluates one untrained network, and the network."""
    run = evaluated(spec)
    composed = compose(run, Single(CPU))
    net = composed.system.nets["student"]
    view, whole = composed.env.views["global"], (composed.system, composed.env)
    reading = reading_of(run, view, Single(CPU), composed.step.autocast, run=whole)
    return lambda: evaluate(net, {0: spec}, run.data, reading, Sources())[spec.label], net


def _finite(spec: EvaluatorSpec) -> None:
    require(
        bool(spec.build().protocol),
        "`protocol` is empty; it names the protocol and its version, as in `knn@1`",
    )
    scores = _untrained(spec)[0]().metrics
    require(bool(scores), "gives no metric")
    bad = [f"{name} = {value!r}" for name, value in scores.items() if not _is_number(value)]
    require(not bad, f"not a finite float: {', '.join(bad)}")


def _declared(spec: EvaluatorSpec) -> None:
    """By which checkpoints, comparisons and tables go, without having run it."""
    wrong = list(mismatches(spec.reported_metrics(), _untrained(spec)[0]().metrics))
    require(not wrong, "; ".join(wrong))


def _is_number(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _requires(spec: EvaluatorSpec) -> None:
    """Asked before training; sources that lack something are problems, and no crash."""
    evaluator, data, net = spec.build(), Noise(), _untrained(spec)[1]
    for split in evaluator.needs:
        require(split in ("train", "test"), f"`needs` names {split!r}; splits are train and test")
    whole: dict[Split, Source] = {split: data.build(split) for split in evaluator.needs}
    setting = Setting(whole, net, "cls")
    wrong = [f"{problem.path}: {problem.message}" for problem in evaluator.check(setting)]
    require(not wrong, f"`check` refuses what it can score: {'; '.join(wrong)}")
    unread = {problem.path.split(".")[0] for problem in evaluator.unused(setting)} - set(
        type(spec).model_fields
    )
    require(not unread, f"`unused` names {', '.join(sorted(unread))}, which are no fields of its spec")
    lacking: dict[Split, Source] = {split: bare(data.build(split)) for split in evaluator.needs}
    for there in (net, None):
        list(evaluator.check(Setting(lacking, there, "cls")))


def _storable(spec: EvaluatorSpec) -> None:
    scores = _untrained(spec)[0]()
    try:
        json.dumps(dict(scores.tables), allow_nan=False)
    except (TypeError, ValueError) as error:
        require(False, f"`tables` must hold what JSON can: {error}")
    if scores.predictions is not None:
        labels, guesses = scores.predictions
        same = (
            labels.shape == guesses.shape == (len(labels),) and labels.dtype == guesses.dtype == torch.int64
        )
        require(same, "`predictions` must be two int64 tensors with one number an image")
        share = float((labels == guesses).double().mean())
        name, headline = next(iter(scores.metrics.items()))
        require(
            abs(share - headline) < 1e-6,
            f"`predictions` are right for {share:.6g} of the images, but `{name}` is {headline:.6g}",
        )
    with tempfile.TemporaryDirectory() as folder:
        for name, draw in scores.figures.items():
            draw(Path(folder) / f"{name}.png")
            require((Path(folder) / f"{name}.png").is_file(), f"figure {name!r} draws no file")


def _repeats(spec: EvaluatorSpec) -> None:
    score, repeats = _untrained(spec)[0], []
    for seed in (1, 2):  # of torch's generator, on which no score may depend
        torch.manual_seed(seed)
        repeats.append(dict(score().metrics))
    require(
        repeats[0] == repeats[1],
        f"{repeats[0]}, and {repeats[1]} again; draw from a generator seeded by `subject.seed`",
    )


def _harmless(spec: EvaluatorSpec) -> None:
    score, net = _untrained(spec)
    weights = weights_sha256(net)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    score()
    require(weights_sha256(net) == weights, "changes the network's weights or buffers; train a copy of it")
    require(
        all(p.grad is None for p in net.parameters()), "leaves gradients in the network; train a copy of it"
    )
    require(
        torch.equal(torch.get_rng_state(), state), "draws from torch's own generator, which training uses"
    )
