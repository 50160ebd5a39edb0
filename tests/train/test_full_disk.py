"""A disk that is full for a while, or to the end."""

from __future__ import annotations

import json
import multiprocessing
import shutil

import pytest
import torch

from sslkit.cli.main import main
from sslkit.core.evaluator import Rows
from sslkit.errors import StorageError, TrainingError
from sslkit.evaluate.feature_cache import FeatureStore
from sslkit.runs import metrics_log
from sslkit.runs.checkpoint import FOLDER, Checkpoints
from sslkit.runs.seal import CHECKSUM, RUN
from sslkit.runs.summary import SUMMARY
from sslkit.runtime.line_file import LineFile
from sslkit.specs.load import dump
from sslkit.train.launch import resume, train
from sslkit.train.saver import Saver
from sslkit.train.watch.finite import UnreadableImages
from tests import tiny
from tests.fakes_train import MadeSource, pictures
from tests.full_disk import fill, free
from tests.train.test_trainer import numbers, silent, stop_at

KNN = {"kind": "knn", "every": "3 steps"}
CHANGES = {"evaluate": [KNN], "checkpoint": {"every": "4 steps", "keep": 1}}
KEPT = {
    "data",
    "evaluations",
    "figures",
    "metrics.jsonl",
    "spec.yaml",
    "spec.lock.yaml",
    "summary.json",
    "checkpoints",
    "manifest.json",
    ".spec.lock.yaml",
    ".owner",
    ".storing",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run: (folder, summary). Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train(tiny.spec(out, **CHANGES), silent)


def test_lines_are_held_and_written_whole_and_in_order(disk):
    told = []
    file = LineFile(disk / "a.txt", told.append)
    file.add(["one"])
    fill(disk)
    long = "x" * 10000
    file.add([long])
    file.add(["three"])
    assert (disk / "a.txt").read_text() == "one\n", "no half of a line"
    assert list(file.held) == [long, "three"]
    assert told == [
        f"{disk / 'a.txt'}: could not be written: No space left on device. Free some space on its disk; "
        "its lines are held until they can be"
    ]
    free(disk)
    file.add(["four"])
    assert (disk / "a.txt").read_text() == f"one\n{long}\nthree\nfour\n"
    assert not file.held
    fill(disk)
    file.add([long])
    assert len(told) == 2, "told again where it happens again"


def test_images_that_are_skipped_are_listed_later(disk):
    skipped = UnreadableImages(disk / "skipped.txt", 100, 0.5, str, lambda text: None)
    fill(disk)
    skipped.add(1, "x" * 5000)
    free(disk)
    skipped.add(2, "b")
    assert [line.split("\t")[0] for line in (disk / "skipped.txt").read_text().splitlines()] == ["1", "2"]


def test_what_cannot_be_stored_is_stored_later_and_its_order_kept(tmp_path):
    told, stored, full = [], [], [True]
    saver = Saver(tmp_path, 1, LineFile(tmp_path / "records", told.append), told.append)

    def write(name):
        def write():
            if full[0]:
                raise StorageError(f"{name}: could not be written")
            stored.append(name)

        return write

    saver.store(write("a"))
    saver.store(write("b"))
    assert (stored, saver.complete) == ([], False)
    with pytest.raises(
        TrainingError, match=r"results could not be written, as the disk is full\. Free some space"
    ):
        saver.finish(None)
    full[0] = False
    saver.store(write("c"))
    assert (stored, saver.complete) == (["a", "b", "c"], True)
    saver.finish(None)
    assert set(told) == {"a: could not be written; it is held in memory until then"}


@pytest.mark.parametrize(("begin", "end"), [(2, 4), (3, 7), (5, 8)])
def test_a_disk_that_is_full_for_a_while_costs_nothing(whole, disk, monkeypatch, capsys, begin, end):
    """Records, evaluations, figures and checkpoints meet it in their turns."""
    out = disk / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, begin, lambda: fill(disk))
        stop_at(patch, end, lambda: free(disk))
        summary = train(tiny.spec(out, **CHANGES), silent)
    assert summary["finished"]
    assert summary["weights_sha256"] == whole[1]["weights_sha256"]
    assert numbers(out) == numbers(whole[0])
    assert {path.name for path in out.iterdir()} == KEPT
    for step in (3, 6, 8):
        ours, theirs = (folder / f"evaluations/step-{step:08d}" for folder in (out, whole[0]))
        assert {path.name for path in ours.iterdir()} == {"knn.json", "knn.npz"}
        assert (ours / "knn.npz").read_bytes() == (theirs / "knn.npz").read_bytes()
        assert result(ours / "knn.json") == result(theirs / "knn.json")
    told = capsys.readouterr().err
    assert "could not be written: No space left on device" in told
    assert "unexpected pos" not in told


def result(path):
    """An evaluation, whichever run it is of."""
    record = json.loads(path.read_text())
    return {key: value for key, value in record.items() if key not in (RUN, CHECKSUM)}


def test_a_disk_that_stays_full_ends_the_run_with_the_file_and_no_traceback(whole, disk, monkeypatch, capsys):
    out, spec = disk / "run", disk / "spec.yaml"
    spec.write_text(dump(tiny.spec(out, **CHANGES)))
    with monkeypatch.context() as patch:
        stop_at(patch, 5, lambda: fill(disk))
        assert main(["run", str(spec)]) == 2
    error = capsys.readouterr().err.rpartition("error: ")[2]
    newest = Checkpoints(out / FOLDER).all()[-1]
    assert "checkpoint of step 8 could not be written: " in error
    assert "state.pt: could not be written: No space left on device. Free some space on its disk" in error
    assert f"The last good checkpoint is {newest}; `sslkit resume {out}` continues from it." in error
    free(disk)
    assert resume(out, silent)["weights_sha256"] == whole[1]["weights_sha256"]
    assert numbers(out) == numbers(whole[0])


def test_a_summary_that_cannot_be_written_is_written_by_resume(whole, disk, monkeypatch):
    from sslkit.train import launch

    out, original = disk / "run", launch.write_summary

    def full(path, data):
        fill(disk)
        original(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(launch, "write_summary", full)
        with pytest.raises(StorageError, match=r"summary\.json: could not be written: No space left"):
            train(tiny.spec(out, **CHANGES), silent)
    free(disk)
    assert resume(out, silent)["weights_sha256"] == whole[1]["weights_sha256"]
    assert json.loads((out / SUMMARY).read_text())["finished"]
    assert numbers(out) == numbers(whole[0])


def test_records_that_the_disk_had_not_taken_are_in_the_checkpoint(whole, disk, monkeypatch):
    """As with a quota of files or a limit of their size: the checkpoint is written where records are not."""
    out = disk / "run"
    original, full = LineFile.retry, [False]

    def retry(self):
        if not full[0]:
            original(self)

    def crash():
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(LineFile, "retry", retry)
        stop_at(patch, 2, lambda: full.__setitem__(0, True))
        stop_at(patch, 7, crash)
        with pytest.raises(MemoryError):
            train(tiny.spec(out, **CHANGES), silent)
    assert metrics_log.read(out) == []
    assert resume(out, silent)["best"] == whole[1]["best"]
    assert numbers(out) == numbers(whole[0])


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_an_export_onto_a_full_disk_names_the_file(whole, disk, capsys, name):
    fill(disk)
    assert main(["export", str(whole[0]), "--out", str(disk / name)]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {disk / name}: could not be written: No space left on device"
    )
    assert [path.name for path in disk.iterdir()] == ["filler"]
    assert not multiprocessing.active_children()


def test_an_evaluation_onto_a_full_disk_tells_its_results(whole, disk, capsys):
    out = disk / "run"
    shutil.copytree(whole[0], out, ignore=shutil.ignore_patterns("evaluations", "figures"))
    fill(disk)
    assert main(["evaluate", str(out), "--no-cache"]) == 2
    told = capsys.readouterr().err
    assert "error: " in told
    assert "could not be written: No space left on device" in told
    assert f"knn: accuracy {whole[1]['metrics']['eval/knn/accuracy']:.4g}, top5" in told


def test_features_that_cannot_be_kept_are_made_again(whole, disk):
    fill(disk)
    rows = Rows(torch.zeros(3, 2), torch.arange(3), torch.arange(3), ("a", "b", "c"))
    source = MadeSource(pictures(3), torch.arange(3))
    store = FeatureStore(disk / "features", {})
    with pytest.warns(UserWarning, match=r"could not be written: No space left.*features are not kept"):
        assert store.get(source, -1, lambda: rows) is rows
    free(disk)
    assert store.get(source, -1, lambda: rows) is rows
    assert store.find(source, -1) is not None
