"""Evaluating after the fact."""

from __future__ import annotations

import re

import pytest

from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.evaluate_network import evaluate_run
from sslkit.runs import metrics_log
from sslkit.runs.evaluations import evaluations
from sslkit.train.launch import train
from tests import tiny

EVALUATE = [{"kind": "knn", "every": "2 steps"}, {"kind": "knn", "name": "one", "k": 1, "every": "4 steps"}]
RUNS = {
    "student": {},
    "ema, mean of a block": {
        "nets": {"ema": {"momentum": 0.5}},
        "readout": {"net": "ema", "pool": "mean", "layer": 0, "batch_size": 100},
    },
    "bfloat16": {"precision": "bfloat16"},
}


@pytest.fixture(scope="module", params=RUNS.values(), ids=RUNS.keys())
def finished(request, tmp_path_factory):
    """A run that was evaluated while it went on. Tests write nothing but evaluations."""
    out = tmp_path_factory.mktemp("runs") / "run"
    run = tiny.spec(out, evaluate=EVALUATE, checkpoint={"every": "2 steps", "keep": 9}, **request.param)
    train(run, lambda text: None)
    return out


def recorded(run_dir):
    """Step -> the metrics of its evaluation."""
    return {e["step"]: e for e in metrics_log.read(run_dir) if any(key.startswith("eval/") for key in e)}


def test_the_numbers_are_those_of_training_to_the_last_digit(finished):
    seen = recorded(finished)
    assert list(seen) == [2, 4, 6, 8]
    assert len({entry["eval/knn/accuracy"] for entry in seen.values()}) > 1
    for step in (2, 4, 8):
        result = evaluate_run(finished, f"step-{step:08d}")
        assert result["step"] == step
        found = {f"eval/{label}/{name}": v for label, m in result["metrics"].items() for name, v in m.items()}
        known = {key: value for key, value in seen[step].items() if key.startswith("eval/")}
        assert known == {key: found[key] for key in known}
    assert set(seen[8]) - {"step", "epoch"} == {
        f"eval/{label}/{name}" for label in ("knn", "one") for name in ("accuracy", "top5")
    }


def test_the_best_checkpoint_has_the_best_number(finished):
    best = max(entry["eval/knn/accuracy"] for entry in recorded(finished).values())
    assert evaluate_run(finished, "best")["metrics"]["knn"]["accuracy"] == best


def test_the_result_is_written_with_what_made_it(finished):
    before = evaluations(finished, 8)["one"]
    result = evaluate_run(finished, only=["one"])
    assert list(result["metrics"]) == ["one"]
    assert result["protocols"] == {"one": "knn@1(k=1)"}
    found = evaluations(finished, 8)["one"]
    assert found.metrics == result["metrics"]["one"]
    assert found.checkpoint == str(finished / "checkpoints" / "step-00000008")
    assert found._replace(checkpoint=None) == before._replace(checkpoint=None), "training wrote the same"
    assert found.settings["k"] == 1
    assert found.data["test"]["images"] == 360
    assert found.readout["pool"] in {"cls", "mean"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without evaluators."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    train(tiny.spec(out, steps=1), lambda text: None)
    return out


def test_a_run_without_evaluators_has_nothing_to_evaluate(plain):
    with pytest.raises(SpecError, match=f"^{re.escape(str(plain))}: its spec has no `evaluate`"):
        evaluate_run(plain)


def test_an_unknown_evaluator_is_answered_with_the_known(finished):
    with pytest.raises(SpecError, match=r"^'two' is not an evaluator of this run\. Known: knn, one$"):
        evaluate_run(finished, only=["knn", "two"])


def test_an_unknown_checkpoint_or_run_is_refused(finished, tmp_path):
    with pytest.raises(CheckpointError, match="has no checkpoint 'step-00000003'"):
        evaluate_run(finished, "step-00000003")
    with pytest.raises(CheckpointError, match="holds no run"):
        evaluate_run(tmp_path)
