"""Results as files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sslkit.core.evaluator import Predictions, Scores
from sslkit.errors import CheckpointError
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import reading_of
from sslkit.evaluate.write_results import About, store
from sslkit.runs.evaluations import evaluations, folder_of, steps
from sslkit.train.compose import compose
from sslkit_evaluators.specs.probes import KNN
from tests import tiny

LABELS = torch.tensor([0, 1, 2, 1])
GUESSES = torch.tensor([0, 1, 1, 1])


def draw(path):
    path.write_bytes(b"a picture")


def scores(guesses=GUESSES):
    share = float((guesses == LABELS).double().mean())
    curve = {"ratio": [0.5, 0.75], "loss": [1.0, 2.0]}
    return Scores(
        {"accuracy": share, "top5": 1.0}, Predictions(LABELS, guesses), {"curve": curve}, {"map": draw}
    )


@pytest.fixture
def write(tmp_path):
    """A function that stores scores of a step, and returns the figures."""
    run = tiny.spec(tmp_path)
    composed = compose(run, tiny.CPU)
    reading = reading_of(run, composed.env.views["global"], tiny.CPU, composed.step.autocast)

    def write(step, found, spec=None):
        about = About(tmp_path, step, "abc", None, ("a.png: cut short",))
        spec = spec or KNN(k=7)
        return store(about, {0: spec}, {spec.label: found}, run.data, reading, Sources())

    return write


def test_what_is_stored_comes_back(tmp_path, write):
    figures = write(40, scores())
    found = evaluations(tmp_path)["knn"]
    assert (found.label, found.step, found.protocol) == ("knn", 40, "knn@1(k=7)")
    assert found.metrics == {"accuracy": 0.75, "top5": 1.0}
    assert found.headline == "accuracy"
    assert found.settings["temperature"] == 0.07, "settings that were not set are there too"
    assert found.tables == {"curve": {"ratio": [0.5, 0.75], "loss": [1.0, 2.0]}}
    assert found.view == {"size": 8, "mean": [0.3], "std": [0.4]}
    assert found.data["train"]["images"] == 1437
    assert found.data["train"]["fingerprint"] != found.data["test"]["fingerprint"]
    assert found.unreadable == ("a.png: cut short",)
    assert found.weights_sha256 == "abc"
    assert [tmp_path / path for path in found.figures.values()] == figures
    assert (tmp_path / found.figures["map"]).read_bytes() == b"a picture"


def test_predictions_come_back_in_order(tmp_path, write):
    write(40, scores())
    stored = evaluations(tmp_path)["knn"].predictions()
    assert stored.labels.tolist() == LABELS.tolist()
    assert stored.guesses.tolist() == GUESSES.tolist()
    assert stored.correct.tolist() == [True, True, False, True]
    assert stored.labels.dtype == np.int64


def test_a_protocol_without_predictions_has_none(tmp_path, write):
    write(40, Scores({"rank": 3.0}))
    found = evaluations(tmp_path)["knn"]
    assert found.predictions() is None
    assert found.headline == "rank"
    assert found.intervals == {}


def test_each_label_comes_from_its_last_step_unless_a_step_is_named(tmp_path, write):
    write(4, scores())
    write(4, scores(), KNN(name="one", k=1))
    write(8, scores(LABELS))
    assert steps(tmp_path) == [4, 8]
    last = evaluations(tmp_path)
    assert {label: found.step for label, found in last.items()} == {"knn": 8, "one": 4}
    assert evaluations(tmp_path, 4)["knn"].metrics["accuracy"] == 0.75
    assert list(evaluations(tmp_path, 8)) == ["knn"]


def test_intervals_of_other_metrics_come_from_the_protocol(tmp_path, write):
    """Those of the headline are made of its predictions; without any the protocol's own stand alone."""
    write(4, scores()._replace(intervals={"top5": (0.9, 1.0)}))
    found = evaluations(tmp_path)["knn"].intervals
    assert found["top5"] == (0.9, 1.0)
    low, high = found["accuracy"]
    assert low < 0.75 < high
    write(8, Scores({"mean": 0.5}, intervals={"mean": (0.4, 0.6)}))
    assert evaluations(tmp_path)["knn"].intervals == {"mean": (0.4, 0.6)}


def test_storing_again_replaces(tmp_path, write):
    write(4, scores())
    write(4, scores(LABELS))
    found = evaluations(tmp_path)["knn"]
    assert found.metrics["accuracy"] == 1.0
    assert found.predictions().correct.all()
    assert not [path.name for path in folder_of(tmp_path, 4).iterdir() if path.name.endswith(".tmp")]


def test_what_is_not_there_is_named(tmp_path, write):
    with pytest.raises(CheckpointError, match=r"holds no evaluations; make them with `sslkit evaluate "):
        evaluations(tmp_path)
    write(4, scores())
    with pytest.raises(CheckpointError, match=r"no evaluation of step 5\. Known: 4$"):
        evaluations(tmp_path, 5)


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"label": "knn"})])
def test_a_damaged_file_is_named(tmp_path, write, content):
    write(4, scores())
    (folder_of(tmp_path, 4) / "knn.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"knn\.json: is damaged: .*; run `sslkit evaluate` again$"):
        evaluations(tmp_path)


def test_damaged_predictions_are_named(tmp_path, write):
    write(4, scores())
    (folder_of(tmp_path, 4) / "knn.npz").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"knn\.npz: is damaged"):
        evaluations(tmp_path)["knn"].predictions()
