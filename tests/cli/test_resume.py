"""`sslkit resume`."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest

from sslkit.cli.main import OK, USER_ERROR
from sslkit.runs.lock import read_lock, rewrite_lock
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call, write
from tests.train.test_trainer import numbers, silent, stop_at


def stop_by_command(tmp_path, capsys, monkeypatch, step=4):
    """Run until a signal arrives at `step`: (exit code, output)."""
    spec = write(tmp_path / "spec.yaml")
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        code, out, _ = call(capsys, "run", spec, "--out", tmp_path / "run")
    return code, out


def test_a_stopped_run_prints_the_command_that_continues_it(tmp_path, capsys, monkeypatch):
    code, out = stop_by_command(tmp_path, capsys, monkeypatch)
    assert code == 128 + signal.SIGTERM
    said, command = out.splitlines()[-2:]
    assert said == "stopped by SIGTERM at step 4; everything is saved. Go on with:"
    whole = train(tiny.spec(tmp_path / "whole"), silent)
    code, out, _ = call(capsys, *command.split()[1:])
    assert code == OK
    assert out.startswith("tiny: 8 steps of 32 images (44 an epoch) from step 4,")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["weights_sha256"] == whole["weights_sha256"]
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")


def test_a_finished_run_says_so(tmp_path, capsys):
    train(tiny.spec(tmp_path, steps=2), silent)
    code, out, _ = call(capsys, "resume", tmp_path)
    assert code == OK
    assert out.splitlines()[0] == f"{tmp_path} is finished: 2 steps"


def test_changed_versions_are_a_warning(tmp_path, capsys, monkeypatch):
    stop_by_command(tmp_path, capsys, monkeypatch)
    lock = read_lock(tmp_path / "run")
    rewrite_lock(tmp_path / "run", {**lock, "packages": {**lock["packages"], "timm": "0.0.1"}})
    code, out, _ = call(capsys, "resume", tmp_path / "run")
    assert code == OK
    assert (
        "warning: versions differ from those that started the run, so results may too: timm 0.0.1 -> " in out
    )


def test_without_a_checkpoint_the_run_starts_over(tmp_path, capsys, monkeypatch):
    stop_by_command(tmp_path, capsys, monkeypatch)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        shutil.rmtree(path)
    for name in ("manifest.json", "summary.json"):  # they say that there was one
        (tmp_path / "run" / name).unlink()
    code, out, _ = call(capsys, "resume", tmp_path / "run")
    assert code == OK
    assert out.splitlines()[0] == f"{tmp_path / 'run'} has no checkpoint yet: starting over"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such folder."),
        ("empty", "holds no run (no spec.lock.yaml); give the folder that `sslkit run` printed"),
    ],
)
def test_a_folder_without_a_run_is_refused(tmp_path, capsys, name, message):
    (tmp_path / "empty").mkdir()
    code, out, err = call(capsys, "resume", tmp_path / name)
    assert (code, out) == (USER_ERROR, "")
    assert err == f"error: {tmp_path / name}: {message}\n"
