"""Runs on objects of Python, from the first step to whatever is done with a run afterwards."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sslkit import PythonData, Run, embed, load_backbone, resume_run
from sslkit.cli.main import main
from sslkit.errors import DataError, Interrupted, SpecError, SslkitError
from sslkit.runs.lock import read_lock
from tests.tiny import fields
from tests.train.test_trainer import stop_at

BUNCH = load_digits()
IMAGES = (BUNCH.images[:200] * 15).astype(np.uint8)
LABELS = BUNCH.target[:200]
Command = Callable[..., str]


class Digits:
    """A map-style dataset that reads each image anew."""

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift
        self.targets = LABELS.tolist()

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.from_numpy(np.roll(IMAGES[index], self.shift, axis=0))[None]
        return image, int(self.targets[index])


def run(data: object, out: Path | None = None, **changes: Any) -> Run:
    return Run(**{**fields(out), "data": data, **changes})


def stopped(data: object, out: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Stop a run on `data` after step 4, and let its objects go."""
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            run(data, out, **changes).fit()
    gc.collect()


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Command:
    """`sslkit` with some words; it refuses, and this is its error."""

    def error(*words: str) -> str:
        capsys.readouterr()
        assert main(list(words)) == 2
        text = capsys.readouterr().err
        assert "Traceback" not in text
        return text

    return error


def test_a_dataset_an_array_and_a_list_train_alike(tmp_path: Path) -> None:
    results = [
        run(data, tmp_path / str(i)).fit()
        for i, data in enumerate([Digits(), IMAGES, torch.from_numpy(IMAGES), list(IMAGES), (IMAGES, LABELS)])
    ]
    assert len({result.summary["weights_sha256"] for result in results}) == 1


def test_evaluators_read_both_splits(tmp_path: Path) -> None:
    data = PythonData(train=(IMAGES[:150], LABELS[:150]), test=(IMAGES[150:], LABELS[150:]))
    result = run(data, tmp_path, evaluate=[{"kind": "knn", "k": 5}]).fit()
    assert 0 <= result.metrics["eval/knn/accuracy"] <= 1
    with pytest.raises(DataError, match="'python_data' has no test split"):
        run((IMAGES, LABELS), tmp_path / "none", evaluate=[{"kind": "knn", "k": 5}]).fit()


def test_the_run_says_that_it_needs_the_same_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(Digits(), tmp_path).fit()
    printed = capsys.readouterr().out
    assert printed.count("data.train (Digits) is of Python alone: this run can be resumed only there") == 1
    parts = result.summary["python_parts"]
    assert parts["data.train"]["images"] == 200
    assert read_lock(tmp_path)["python_parts"] == parts
    assert json.loads((tmp_path / "summary.json").read_text())["python_parts"] == parts


def test_other_runs_say_nothing_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = Run(**fields(tmp_path, steps=1)).fit()
    assert "python_parts" not in result.summary
    assert "of Python alone" not in capsys.readouterr().out


def test_a_stopped_run_goes_on_with_the_same_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(Digits(), tmp_path / "whole").fit().summary["weights_sha256"]
    stopped(Digits(), tmp_path / "fit", monkeypatch)
    assert run(Digits(), tmp_path / "fit").fit().summary["weights_sha256"] == whole
    stopped(Digits(), tmp_path / "resume", monkeypatch)
    assert run(Digits(), tmp_path / "resume").resume("workers=1").summary["weights_sha256"] == whole
    stopped(Digits(), tmp_path / "folder", monkeypatch)
    held = PythonData(train=Digits())
    assert resume_run(tmp_path / "folder").summary["weights_sha256"] == whole
    assert held.train.value is not None


def test_other_objects_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(Digits(), tmp_path, monkeypatch)
    with pytest.raises(DataError, match="its data have changed since it began"):
        run(Digits(shift=1), tmp_path).fit()
    with pytest.raises(SpecError, match=r"data: .*|is an object of Python"):
        resume_run(tmp_path)
    assert run(Digits(shift=1), tmp_path).fit(data_changed=True).summary["finished"]


def test_commands_refuse_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Command) -> None:
    stopped(Digits(), tmp_path, monkeypatch)
    error = told("resume", str(tmp_path))
    assert (
        "data.train: is an object of Python, Digits (images 200), which no file holds; go on in Python"
        in error
    )
    assert len(error.strip().splitlines()) == 1


def test_fit_again_returns_the_same_result(tmp_path: Path) -> None:
    first = run(Digits(), tmp_path).fit()
    assert run(Digits(), tmp_path).fit() == first
    with pytest.raises(DataError, match="is finished, and its data have changed"):
        run(Digits(shift=1), tmp_path).fit()


def test_what_is_done_with_a_run_works_without_the_objects(tmp_path: Path, told: Command) -> None:
    run(Digits(), tmp_path / "run").fit()
    gc.collect()
    assert load_backbone(tmp_path / "run").dim == 16
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "net.safetensors")]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    digits = "{kind: digits}"
    assert main(["evaluate", str(tmp_path / "run"), f"data={digits}", "evaluate=[{kind: knn}]"]) == 0
    error = told("evaluate", str(tmp_path / "run"), "evaluate=[{kind: knn}]")
    assert "is an object of Python" in error


def test_embeddings_of_the_objects(tmp_path: Path) -> None:
    mine = run(PythonData(train=(IMAGES, LABELS)), tmp_path / "run")
    mine.fit()
    embed(tmp_path / "run", out=tmp_path / "images.npy")
    assert np.load(tmp_path / "images.npy").shape == (200, 16)
    assert mine.spec.data.train.value is not None


def test_yaml_tells_of_objects_and_says_so(tmp_path: Path) -> None:
    mine = run(Digits(), tmp_path / "run")
    text = mine.to_yaml()
    assert text.startswith("# data.train: Digits (images 200) of Python, which no file holds\n")
    (tmp_path / "run.yaml").write_text(text)
    assert Run.from_yaml(tmp_path / "run.yaml").spec == mine.spec
    del mine
    gc.collect()
    with pytest.raises(SslkitError, match=r"data.train: is an object of Python, Digits"):
        Run.from_yaml(tmp_path / "run.yaml")


def test_plain_runs_have_no_comments_in_yaml() -> None:
    assert not Run(**fields()).to_yaml().startswith("#")


def test_data_that_will_not_do_is_told_at_once() -> None:
    with pytest.raises(SpecError, match=r"PythonData.train: a generator is no set of images by index"):
        run(x for x in IMAGES)
