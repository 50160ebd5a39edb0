"""Best values, by the direction of each metric, and what older checkpoints say of them."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest

from sslkit.build.restore import find
from sslkit.core.evaluator import Scores
from sslkit.errors import CheckpointError
from sslkit.runs.best_checkpoint import Best
from sslkit.runs.checkpoint import FOLDER, META, Checkpoints, step_of
from sslkit.runs.seal import sealed
from sslkit.train.launch import resume, train
from sslkit_evaluators.reconstruction.reconstruction import ReconstructionEvaluator
from tests import tiny
from tests.train.test_trainer import silent, stop_at

KNN = {"kind": "knn", "k": 3}
LOSS = "eval/reconstruction/loss"
RECONSTRUCTION = {"kind": "reconstruction", "every": "2 steps"}


def best_of(*evaluators, name=None):
    changes = {} if name is None else {"checkpoint": {"best": name}}
    return Best(tiny.spec(evaluate=list(evaluators), **changes))


def no_records():
    pytest.fail("nothing was kept by another direction")


def test_the_first_metric_that_was_evaluated_decides():
    best = best_of(KNN)
    assert (best.metric, best.step) == (None, None)
    best.update(2, {"eval/knn/accuracy": 0.5, "eval/knn/top5": 0.9})
    best.update(4, {"eval/knn/accuracy": 0.7, "eval/knn/top5": 0.8})
    best.update(6, {"eval/knn/accuracy": 0.7})
    assert best.metric == "eval/knn/accuracy"
    assert best.step == 4, "the earlier of equal values"
    assert best.values["eval/knn/top5"] == {"value": 0.9, "step": 2, "better": "higher"}


def test_a_named_metric_decides():
    best = best_of(KNN, name="eval/knn/top5")
    best.update(2, {"eval/knn/accuracy": 0.5})
    assert best.step is None
    best.update(4, {"eval/knn/accuracy": 0.7, "eval/knn/top5": 0.8})
    best.update(6, {"eval/knn/accuracy": 0.9, "eval/knn/top5": 0.1})
    assert best.step == 4


def test_the_lowest_loss_is_the_best():
    best = best_of({"kind": "reconstruction"}, name=LOSS)
    for step, loss in ((2, 0.5), (4, 0.3), (6, 0.3), (8, 0.4)):
        best.update(step, {"eval/reconstruction/skill": 1 - loss, LOSS: loss})
    assert best.step == 4
    assert best.values[LOSS] == {"value": 0.3, "step": 4, "better": "lower"}
    assert best.values["eval/reconstruction/skill"] == {"value": 0.7, "step": 4, "better": "higher"}


def test_descriptions_have_no_best_value():
    best = best_of({"kind": "attention"}, {"kind": "linear"})
    best.update(
        2, {"eval/attention/entropy": 3.0, "eval/linear/learning_rate": 0.1, "eval/linear/accuracy": 0.5}
    )
    assert list(best.values) == ["eval/linear/accuracy"]
    assert best.metric == "eval/linear/accuracy"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("name", "good"), [("eval/knn/accuracy", 0.1), (LOSS, 0.1)])
def test_what_is_not_finite_is_never_the_best(bad, name, good):
    best = best_of(KNN, {"kind": "reconstruction"})
    best.update(1, {name: bad})
    assert best.values == {}
    best.update(2, {name: good})
    best.update(3, {name: bad})
    assert (best.values[name]["value"], best.values[name]["step"]) == (good, 2)


def test_best_values_survive_a_checkpoint():
    best, again = best_of({"kind": "reconstruction"}, KNN), best_of({"kind": "reconstruction"}, KNN)
    best.update(2, {LOSS: 0.5, "eval/knn/accuracy": 0.25})
    again.restore(json.loads(json.dumps(best.state())), no_records)
    assert (again.metric, again.corrected) == (LOSS, ())
    again.update(3, {LOSS: 0.75})
    assert again.step == 2
    again.update(4, {LOSS: 0.25})
    assert (again.step, best.step) == (4, 2)


def test_values_that_an_older_version_kept_by_the_other_direction_come_from_the_records():
    """It kept the highest loss; accuracies, which it kept rightly, need no records."""
    state = {
        "eval/attention/entropy": {"value": 3.0, "step": 2},
        LOSS: {"value": 0.9, "step": 2},
        "eval/knn/accuracy": {"value": 0.5, "step": 4},
    }
    records = [
        {"step": 2, LOSS: 0.9, "eval/knn/accuracy": 0.4},
        {"step": 3, "loss": 0.1},
        {"step": 4, LOSS: None},
        {"step": 6, LOSS: 0.2, "eval/knn/accuracy": 0.6},
        {"step": 8, LOSS: 0.3},
    ]
    best = best_of({"kind": "attention"}, {"kind": "reconstruction"}, KNN, name=LOSS)
    best.restore(state, lambda: records)
    assert best.values == {
        LOSS: {"value": 0.2, "step": 6, "better": "lower"},
        "eval/knn/accuracy": {"value": 0.5, "step": 4, "better": "higher"},
    }
    assert best.corrected == (LOSS,)
    best.restore({"eval/knn/accuracy": {"value": 0.5, "step": 4}}, no_records)
    assert best.corrected == ()


def test_a_named_metric_that_is_not_reported_is_said():
    best = best_of(KNN, {"kind": "linear"}, name="eval/knn/top5")
    assert best.unreported({"eval/linear/accuracy": 0.5}) is None, "another evaluation"
    assert best.unreported({"eval/knn/accuracy": 0.5, "eval/knn/top5": 0.5}) is None
    text = best.unreported({"eval/knn/accuracy": 0.5})
    assert text is not None
    assert "'eval/knn/top5' is not reported with these data" in text
    assert text.endswith("Reported: eval/knn/accuracy")


LOSSES = {2: 0.5, 4: 0.2, 6: 0.4, 8: 0.3}
"""By step; the highest, which used to be kept, is the first."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that keeps its last checkpoint and the best by a loss whose values are `LOSSES`, one an evaluation."""
    losses = iter(LOSSES.values())

    def scores(self, subject):
        loss = next(losses)
        return Scores({"skill": 1 - loss, "loss": loss})

    monkeypatch.setattr(ReconstructionEvaluator, "__call__", scores)
    best = {"best": LOSS, "keep": 1, "every": "1 steps"}
    return tiny.spec(tmp_path / "run", steps=8, evaluate=[RECONSTRUCTION], checkpoint=best)


def kept(run):
    return {step_of(path) for path in Checkpoints(run.out / FOLDER).all()}


def as_an_older_version(run, step):
    """Put into every checkpoint of the run what was kept when higher was taken as better: `LOSSES` at `step`."""
    for path in Checkpoints(run.out / FOLDER).all():
        meta = json.loads((path / META).read_text())
        meta["best"] = {LOSS: {"value": LOSSES[step], "step": step}}
        (path / META).write_text(json.dumps(sealed(meta)))


def test_the_checkpoint_of_the_lowest_loss_is_kept(run):
    summary = train(run, silent)
    assert summary["best"][LOSS] == {"value": 0.2, "step": 4, "better": "lower"}
    assert kept(run) == {4, 8}
    assert find(run.out, "best").step == 4


def test_a_run_of_an_older_version_goes_on_with_the_right_best(run, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train(run, silent)["step"] == 5
    as_an_older_version(run, 2)
    assert resume(run.out, silent)["best"][LOSS] == {"value": 0.2, "step": 4, "better": "lower"}
    assert find(run.out, "best").step == 4


def test_a_best_checkpoint_that_an_older_version_did_not_keep_is_not_replaced_by_another(run):
    train(run, silent)
    as_an_older_version(run, 2)
    assert find(run.out, "best").step == 4
    shutil.rmtree(run.out / FOLDER / "step-00000004")
    with pytest.raises(
        CheckpointError, match=f"step 4 by {LOSS}.*an older version took higher values as better"
    ):
        find(run.out, "best")
