"""What holds of every kind of evaluator at once: training does not notice it, and the same weights give the same."""

from __future__ import annotations

import json
import math
import os
import random
import signal

import numpy as np
import pytest
import torch

from sslkit import catalog
from sslkit.evaluate import write_results
from sslkit.evaluate.evaluate_network import evaluate_run, evaluate_spec
from sslkit.evaluate.export import export
from sslkit.runs import metrics_log
from sslkit.runs.checkpoint import Checkpoints, load
from sslkit.runs.evaluations import evaluations, folder_of
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.load import parse, parse_as
from sslkit.specs.metrics import directions, mismatches
from sslkit.train.launch import resume, train
from sslkit.train.online_evaluation import OnlineEvaluation
from tests.evaluate import every
from tests.train.test_trainer import silent, stop_at

ALL = [{**one, "every": "2 steps"} for one in every.evaluators()]


def state_of_the_process(evaluation):
    """Modes of all modules, what takes gradients, and every generator's state."""
    system = evaluation.composed.system
    modes = {name: module.training for name, module in system.named_modules()}
    grads = {name: p.requires_grad for name, p in system.named_parameters()}
    generators = [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]
    return modes, grads, generators


def undrawn(folder, spec, scores, warn):
    """In place of figures, which take most of the time: those of one run are enough."""
    return iter(())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return every.folders(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """The same training three times: without evaluators, with all of them, and with all and a stop in the middle."""
    root, seen = tmp_path_factory.mktemp("runs"), []
    evaluate = OnlineEvaluation.run

    def watched(self, done, due):
        before = state_of_the_process(self)
        found = evaluate(self, done, due)
        seen.append((before, state_of_the_process(self)))
        return found

    with pytest.MonkeyPatch.context() as patch:
        train(parse(every.fields(data, out=str(root / "without"))), silent)
        patch.setattr(OnlineEvaluation, "run", watched)
        train(parse(every.fields(data, out=str(root / "whole"), evaluate=ALL)), silent)
        patch.setattr(write_results, "_draw", undrawn)
        with pytest.MonkeyPatch.context() as stopping:
            stop_at(stopping, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
            stopped = train(parse(every.fields(data, out=str(root / "stopped"), evaluate=ALL)), silent)
        assert (stopped["finished"], stopped["step"]) == (False, 3)
        resume(root / "stopped", silent)
    return root, seen


def losses(run_dir):
    return [entry["loss"] for entry in metrics_log.read(run_dir) if "loss" in entry]


def weights(run_dir):
    return load(Checkpoints(run_dir / "checkpoints").all()[-1]).state["system"]


def scores(run_dir):
    """(step, metric) -> value, of all evaluations."""
    return {
        (entry["step"], key): value
        for entry in metrics_log.read(run_dir)
        for key, value in entry.items()
        if key.startswith("eval/")
    }


def test_every_kind_is_here_but_those_that_need_masks_or_captions():
    assert set(catalog.kinds("evaluator")) - {"dense", *catalog.ELSEWHERE["evaluator"]} == set(every.KINDS)


@pytest.mark.parametrize("name", ["whole", "stopped"])
def test_evaluating_never_changes_training(runs, name):
    """Losses and weights to the last bit, with all kinds after every second step, also across a stop."""
    root, _ = runs
    assert len(losses(root / "without")) == 4
    assert losses(root / name) == losses(root / "without")
    one, two = weights(root / name), weights(root / "without")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_stop_in_the_middle_changes_no_number(runs):
    root, _ = runs
    whole = scores(root / "whole")
    assert {step for step, _ in whole} == {2, 4}
    assert {key.split("/")[1] for _, key in whole} == set(every.KINDS)
    assert scores(root / "stopped") == whole


def test_modes_gradients_and_generators_are_as_before(runs):
    _, seen = runs
    evaluated = [pair for pair in seen if pair[0][0]]
    assert len(evaluated) >= 4
    for before, after in evaluated:
        assert any(before[0].values()), "the student trains"
        assert after == before


def test_the_numbers_afterwards_are_those_of_training(runs, tmp_path, monkeypatch):
    """From a checkpoint of the middle; the export below has the weights of the last one."""
    monkeypatch.setattr(write_results, "_draw", undrawn)
    root, _ = runs
    spec = {"run": str(root / "whole"), "checkpoint": "step-00000002", "out": str(tmp_path), "workers": 0}
    evaluate_spec(parse_as(EvaluationSpec, spec))
    before, after = evaluations(root / "whole", 2), evaluations(tmp_path, 2)
    assert before.keys() == after.keys() == set(every.KINDS)
    for label, found in after.items():
        known = before[label]
        same = ("metrics", "intervals", "tables", "settings", "protocol", "data", "weights_sha256", "view")
        for field in same:
            assert getattr(found, field) == getattr(known, field), (label, field)


def test_an_export_gives_the_same_numbers(data, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(write_results, "_draw", undrawn)
    root, _ = runs
    export(root / "whole", tmp_path / "net.safetensors")
    asked = [one for one in every.evaluators() if one["kind"] not in every.OF_RUNS]
    spec = {
        "file": str(tmp_path / "net.safetensors"), "data": data, "evaluate": asked, "out": str(tmp_path / "out"),
        "seed": 3, "workers": 0,
    }  # fmt: skip
    found = evaluate_spec(parse_as(EvaluationSpec, spec))["metrics"]
    known = evaluations(root / "whole", 4)
    assert set(found) == set(known) - every.OF_RUNS
    assert found == {label: known[label].metrics for label in found}


def test_kept_features_change_no_number(runs, tmp_path, monkeypatch):
    """Written by the first evaluation and read by the second."""
    monkeypatch.setattr(write_results, "_draw", undrawn)
    root, _ = runs
    known = evaluations(root / "whole", 4)
    spec = parse_as(EvaluationSpec, {"run": str(root / "whole"), "out": str(tmp_path), "workers": 0})
    labels = ["knn", "lowshot", "retrieval"]
    for _ in range(2):
        found = evaluate_spec(spec, labels, keep=True)["metrics"]
        assert found == {label: known[label].metrics for label in labels}


def test_one_kind_alone_gives_what_it_gives_among_others(runs):
    """No protocol leans on what another one made or drew before it."""
    root, _ = runs
    known = {label: dict(found.metrics) for label, found in evaluations(root / "whole", 4).items()}
    for label in ("finetune", "probing"):
        assert evaluate_run(root / "whole", only=[label])["metrics"] == {label: known[label]}


def test_reported_metrics_are_the_declared_ones(runs):
    """Names, and the direction that is stored with them."""
    root, _ = runs
    for label, found in evaluations(root / "whole", 4).items():
        declared = catalog.kinds("evaluator")[found.settings["kind"]](**found.settings).reported_metrics()
        assert list(mismatches(declared, found.metrics)) == [], label
        assert dict(found.better) == directions(declared, found.metrics), label


def test_stored_predictions_are_those_of_the_headline(runs):
    root, _ = runs
    with_predictions = set()
    for label, found in evaluations(root / "whole").items():
        predictions = found.predictions()
        if predictions is None:
            assert set(found.intervals) <= {"accuracy"}, "robustness has an interval of its own"
            assert label == "robustness" or found.intervals == {}
            continue
        with_predictions.add(label)
        assert len(predictions.labels) == every.CLASSES * every.TEST
        assert predictions.labels.tolist() == sorted(predictions.labels), "the order of the source"
        assert predictions.correct.mean() == pytest.approx(found.metrics[found.headline], abs=1e-9)
        low, high = found.intervals[found.headline]
        assert 0 <= low <= found.metrics[found.headline] <= high <= 1
        assert low < high
    assert with_predictions >= {"knn", "linear", "logistic", "finetune", "peft", "concept"}


def test_every_record_is_json_that_others_can_read(runs):
    """No NaN or Infinity, which JSON does not know; accuracies are shares; figures exist."""
    root, _ = runs

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    for path in folder_of(root / "whole", 4).glob("*.json"):
        found = json.loads(path.read_text(), parse_constant=refuse)
        assert found["label"] == path.stem
        assert found["step"] == 4
        assert all(math.isfinite(value) for value in found["metrics"].values()), path.stem
        shares = [v for name, v in found["metrics"].items() if name.endswith("accuracy") or name == "map"]
        assert all(0 <= value <= 1 for value in shares)
        for figure in found["figures"].values():
            assert (root / "whole" / figure).stat().st_size > 1000
        for split in found["data"].values():
            assert split["images"] in {every.CLASSES * every.TRAIN, every.CLASSES * every.TEST}


def test_planted_colors_are_found_by_all_classifiers(runs):
    """Far above the one in five of guessing, so that equal numbers above are not those of noise."""
    root, _ = runs
    found = evaluations(root / "whole", 4)
    for label in ("knn", "linear", "logistic", "concept", "probing"):
        assert found[label].metrics[found[label].headline] > 0.5, label
    assert found["retrieval"].metrics["map"] > 0.4
