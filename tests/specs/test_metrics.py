"""What evaluators report, in which direction it is better, and what `checkpoint.best` may name."""

from __future__ import annotations

from typing import Literal

import pytest

from sslkit import catalog
from sslkit.errors import SpecError
from sslkit.specs.check import check
from sslkit.specs.families import EvaluatorSpec
from sslkit.specs.load import parse_as
from sslkit.specs.metrics import (
    HIGHER,
    LOWER,
    NEITHER,
    Metric,
    directions,
    metric_of,
    mismatches,
)
from sslkit.specs.run import RunSpec
from sslkit.specs.run_metrics import directions_of_settings, refusal
from tests import tiny

KNN = {"kind": "knn", "k": 3}
RECONSTRUCTION = {"kind": "reconstruction"}


class Silent(EvaluatorSpec):
    """Of a third party, from before directions were declared."""

    kind: Literal["silent"] = "silent"

    def build(self):
        raise AssertionError("only its declaration is read")


def refused(best, *evaluators):
    """What a run says of `checkpoint.best`, or None."""
    run = parse_as(RunSpec, tiny.fields(evaluate=list(evaluators), checkpoint={"best": best}))
    try:
        check(run)
    except SpecError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("name", "evaluator"),
    [
        ("eval/knn/accuracy", KNN),
        ("eval/knn/top5", KNN),
        ("eval/mine/accuracy_k3_T0.07", {**KNN, "name": "mine", "k": [3, 5]}),
        ("eval/reconstruction/loss", RECONSTRUCTION),
        ("eval/reconstruction/loss_at_0.5", RECONSTRUCTION),
        ("eval/reconstruction/a_psnr", RECONSTRUCTION),
        ("eval/probing/hair_accuracy", {"kind": "probing"}),
        ("eval/geometry/alignment", {"kind": "geometry"}),
    ],
)
def test_metrics_with_a_direction_can_be_the_best(name, evaluator):
    assert refused(name, evaluator) is None


@pytest.mark.parametrize(
    ("name", "evaluator", "text"),
    [
        ("eval/knn/acuracy", KNN, "'knn' reports no metric 'acuracy'. Did you mean 'eval/knn/accuracy'?"),
        ("eval/nn/accuracy", KNN, "is no metric of this run's evaluations, `eval/LABEL/METRIC`. Did you mean 'eval"),
        ("knn/accuracy", KNN, "Did you mean 'eval/knn/accuracy'?"),
        ("eval/knn", KNN, "'eval/knn' is no metric of this run's evaluations"),
        ("loss", KNN, "'loss' is a value of training: one augmented batch"),
        ("loss/mae", KNN, "Name a metric of an evaluation. Known: eval/knn/accuracy, eval/knn/recall, eval/knn/top5."),
        ("lr", KNN, "is a value of training"),
        ("eval/linear/learning_rate", {"kind": "linear"}, "'learning_rate' is a description, of which neither"),
        ("eval/geometry/alignment", {"kind": "geometry", "positives": "none"}, "reports no metric 'alignment'"),
        ("eval/reconstruction/loss_at_0.4", RECONSTRUCTION, "reports no metric 'loss_at_0.4'"),
    ],
)  # fmt: skip
def test_other_names_are_refused_before_training(name, evaluator, text):
    message = refused(name, evaluator)
    assert message is not None
    assert message.startswith("checkpoint.best: ")
    assert text in message


def test_without_evaluations_no_checkpoint_can_be_the_best():
    assert "nothing is evaluated in this run" in (refused("eval/knn/accuracy") or "")


def test_of_a_kind_that_declares_nothing_no_metric_can_be_named():
    text = refusal("eval/silent/score", [Silent()])
    assert text is not None
    assert "'silent' does not declare its metrics" in text
    assert "reported_metrics" in text


def test_of_a_kind_that_declares_nothing_more_of_the_first_metric_is_better():
    assert directions(Silent().reported_metrics(), ["score", "loss"]) == {"score": "higher", "loss": None}


def test_names_come_before_patterns():
    declared = {"*_accuracy": HIGHER, "odd_accuracy": NEITHER, "loss": LOWER}
    assert metric_of(declared, "hair_accuracy") == HIGHER
    assert metric_of(declared, "odd_accuracy") == NEITHER
    assert metric_of(declared, "accuracy") is None
    assert directions(declared, ["loss", "other"]) == {"loss": "lower", "other": None}


def test_stored_settings_tell_directions():
    settings = RECONSTRUCTION | {"ratios": [0.5]}
    assert directions_of_settings(settings, ["skill", "loss", "loss_at_0.5"]) == {
        "skill": "higher", "loss": "lower", "loss_at_0.5": "lower",
    }  # fmt: skip
    assert directions_of_settings({"kind": "gone"}, ["loss"]) == {"loss": None}
    assert directions_of_settings({"kind": "knn", "removed": 1}, ["accuracy"]) == {"accuracy": None}
    assert directions_of_settings({}, ["accuracy"]) == {"accuracy": None}


def test_what_is_reported_is_held_against_what_is_declared():
    declared = {"area": HIGHER, "top5": Metric("higher", "with five classes or more"), "*_loss": LOWER}
    assert list(mismatches(declared, ["area", "a_loss"])) == []
    assert list(mismatches(declared, ["area", "top5", "a_loss", "b_loss"])) == []
    assert list(mismatches(declared, ["area"])) == [
        "declares '*_loss', which it does not report; say `when` it does, or leave it out"
    ]
    assert list(mismatches(declared, ["area", "a_loss", "extra"])) == [
        "reports 'extra', which `reported_metrics` does not declare"
    ]
    assert "declares no metrics" in next(mismatches({}, ["area"]))
    assert "'top5' as its first metric" in next(mismatches(declared, ["top5", "area", "a_loss"]))


@pytest.mark.parametrize("kind", sorted(catalog.kinds("evaluator")))
def test_every_kind_declares_its_metrics(kind):
    declared = catalog.kinds("evaluator")[kind]().reported_metrics()
    assert declared
    assert all(isinstance(metric, Metric) for metric in declared.values())
