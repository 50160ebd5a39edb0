"""Stopping and failing at the end of a run, and what starting again makes of it."""

from __future__ import annotations

import json
import os
import signal

import pytest

from sslkit.errors import CheckpointError, DataError
from sslkit.runs import metrics_log
from sslkit.runs.checkpoint import FOLDER, META, STATE, Checkpoints, checksum
from sslkit.runs.seal import sealed
from sslkit.runs.summary import SUMMARY, read_summary
from sslkit.train.launch import resume, train
from sslkit_evaluators.probes.knn import KNNEvaluator
from tests import tiny
from tests.cli.specs import folder, images
from tests.train.test_trainer import numbers, silent, stop_at

KNN = {"kind": "knn", "every": "end"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: (folder, summary). Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train(tiny.spec(out, evaluate=[KNN]), silent)


def stopped_at(step, out, monkeypatch, **changes):
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        return train(tiny.spec(out, evaluate=[KNN], **changes), silent)


def test_a_signal_in_the_last_step_leaves_the_final_evaluation_to_resume(whole, tmp_path, monkeypatch):
    stopped = stopped_at(8, tmp_path, monkeypatch, log=tiny.DRAWN)
    assert (stopped["finished"], stopped["step"], stopped["stopped_by"]) == (False, 8, "SIGTERM")
    assert stopped["best"] == {}
    resumed = resume(tmp_path, silent)
    assert resumed["finished"]
    assert resumed["best"] == whole[1]["best"]
    assert numbers(tmp_path) == numbers(whole[0])
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"curves.png", "reconstruction.png"}


def test_an_evaluation_that_was_cut_off_while_it_was_saved_stands_once(whole, tmp_path, monkeypatch):
    stopped_at(8, tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "amend", lambda *args: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            resume(tmp_path, silent)
    assert sum("eval/knn/accuracy" in entry for entry in metrics_log.read(tmp_path)) == 1
    resume(tmp_path, silent)
    assert numbers(tmp_path) == numbers(whole[0])


def test_an_evaluator_that_fails_costs_no_training(whole, tmp_path, monkeypatch):
    def fail(self, subject):
        raise DataError("nothing to measure")

    with monkeypatch.context() as patch:
        patch.setattr(KNNEvaluator, "__call__", fail)
        with pytest.raises(DataError, match=r"^evaluate\.0: nothing to measure"):
            train(tiny.spec(tmp_path, evaluate=[KNN]), silent)
    assert [path.name for path in Checkpoints(tmp_path / FOLDER).all()][-1] == "step-00000008"
    summary = resume(tmp_path, silent)
    assert summary["weights_sha256"] == whole[1]["weights_sha256"]
    assert numbers(tmp_path) == numbers(whole[0])


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_summary_is_made_again(whole, tmp_path, text):
    run = tiny.spec(tmp_path, steps=2)
    first = train(run, silent)
    (tmp_path / SUMMARY).write_text(text)
    again = resume(tmp_path, silent)
    changing = {"seconds", "peak_memory_mib"}
    assert {k: v for k, v in again.items() if k not in changing} == {
        k: v for k, v in first.items() if k not in changing
    }
    assert read_summary(tmp_path) == again


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_on_files_resumes_bit_equal_within_an_epoch(tmp_path, monkeypatch, workers):
    """Decoding, crops, masks and stochastic depth, whatever the number of workers before and after."""
    changes = {
        "data": folder(images(tmp_path / "images", 40, side=12)),
        "backbone": {**tiny.VIT, "drop_path": 0.5},
        "batch_size": 8,
        "micro_batch_size": 4,
    }
    (tmp_path / "images" / "0007.png").write_bytes(b"no image")
    uncut = train(tiny.spec(tmp_path / "uncut", **changes, max_corrupt=0.1), silent)
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tiny.spec(tmp_path / "cut", **changes, max_corrupt=0.1, workers=workers), silent)
    resumed = resume(tmp_path / "cut", silent)
    assert resumed["weights_sha256"] == uncut["weights_sha256"]
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "uncut")
    assert resumed["skipped_images"] == uncut["skipped_images"] == 1


def borrow_state(source, target):
    """Put the newest state of one run into the newest checkpoint of another, with a matching checksum."""
    theirs, ours = (Checkpoints(folder / FOLDER).all()[-1] for folder in (source, target))
    (ours / STATE).write_bytes((theirs / STATE).read_bytes())
    meta = json.loads((ours / META).read_text())
    (ours / META).write_text(json.dumps(sealed({**meta, "sha256": checksum(ours / STATE)})))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("network", {"backbone": {**tiny.VIT, "width": 32}}),
        ("network", {"nets": {"ema": {}}}),
        ("optimizer", {"optimizer": {"decay_one_dimensional": True}}),
    ],
)
def test_the_state_of_another_run_is_refused(tmp_path, monkeypatch, part, changes):
    train(tiny.spec(tmp_path / "other", steps=1, **changes), silent)
    with monkeypatch.context() as patch:
        stop_at(patch, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tiny.spec(tmp_path / "run"), silent)
    borrow_state(tmp_path / "other", tmp_path / "run")
    with pytest.raises(CheckpointError, match=f"does not fit this run's {part}"):
        resume(tmp_path / "run", silent)
