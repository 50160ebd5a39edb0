"""Checkpoints are whole or absent."""

from __future__ import annotations

import json
import re

import pytest
import torch

from sslkit.errors import CheckpointError, StorageError
from sslkit.runs import checkpoint
from sslkit.runs.checkpoint import META, STATE, Checkpoints, checksum, load, step_of
from sslkit.runs.seal import sealed

STATE_DICT = {"system": {"weight": torch.arange(6.0)}, "optimizer": {"state": {}, "param_groups": []}}


def kept(checkpoints):
    return [step_of(path) for path in checkpoints.all()]


def everything(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def saved(tmp_path):
    """The folder of a sound checkpoint of step 7."""
    return Checkpoints(tmp_path / "checkpoints").save(7, STATE_DICT, {"epoch": 1.5}, None)


def edit(path, **changes):
    """Change fields of a checkpoint's meta; None removes one."""
    meta = json.loads((path / META).read_text()) | changes
    (path / META).write_text(json.dumps(sealed({k: v for k, v in meta.items() if v is not None})))


def test_what_is_saved_comes_back(saved):
    loaded = load(saved)
    assert saved.name == "step-00000007"
    assert loaded.step == 7
    assert loaded.path == saved
    assert torch.equal(loaded.state["system"]["weight"], torch.arange(6.0))
    assert loaded.meta["epoch"] == 1.5
    assert loaded.meta["sha256"] == checksum(saved / STATE)
    assert everything(saved) == [META, STATE]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")]
)
def test_an_error_while_writing_leaves_nothing_behind(tmp_path, monkeypatch, error):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, STATE_DICT, {}, None)

    def fail(state, file):
        file.write(b"half of it")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        with pytest.raises(StorageError, match=r"^checkpoint of step 2 could not be written: "):
            checkpoints.save(2, STATE_DICT, {}, None)
    assert everything(tmp_path / "c") == ["step-00000001"]
    assert checkpoints.newest()[0].step == 1


def test_a_crash_while_writing_leaves_nothing_that_counts(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, STATE_DICT, {}, None)

    def crash(path, data):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(2, STATE_DICT, {}, None)
    assert kept(checkpoints) == [1]
    checkpoints.save(2, STATE_DICT, {}, None)
    assert everything(tmp_path / "c") == ["step-00000001", "step-00000002"]


def test_saving_a_step_again_replaces_it(tmp_path, saved):
    again = {**STATE_DICT, "system": {"weight": torch.ones(2)}}
    checkpoints = Checkpoints(saved.parent)
    assert checkpoints.save(7, again, {"evaluated": True}, None) == saved
    assert torch.equal(load(saved).state["system"]["weight"], torch.ones(2))
    assert load(saved).meta["evaluated"]
    assert everything(saved.parent) == ["step-00000007"]


def test_the_newest_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    seen = []
    for step, best in ((1, None), (2, 1), (3, 1), (4, 1), (5, 4), (6, 4), (7, 4), (100000000, 4)):
        checkpoints.save(step, STATE_DICT, {}, best)
        seen.append(kept(checkpoints))
    assert seen[3] == [1, 3, 4]
    assert seen[4] == [4, 5]
    assert seen[6] == [4, 6, 7]
    assert seen[7] == [4, 7, 100000000], "by number and not by name"


def test_one_that_is_protected_is_not_dropped(tmp_path, monkeypatch):
    """Half removed and under another name it would be neither protected nor gone."""
    checkpoints, protected = Checkpoints(tmp_path, keep=1), []
    monkeypatch.setattr(
        checkpoint, "_may_be_written", lambda path: path not in protected
    )  # root may do anything
    protected.append(checkpoints.save(1, STATE_DICT, {}, None))
    checkpoints.save(2, STATE_DICT, {}, None)
    checkpoints.save(3, STATE_DICT, {}, None)
    assert kept(checkpoints) == [1, 3]
    assert load(protected.pop()).step == 1
    checkpoints.prune(None)
    assert everything(tmp_path) == ["step-00000003"]


def test_what_an_evaluation_found_is_put_into_the_checkpoint_before_it(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in (1, 2, 3):
        checkpoints.save(step, STATE_DICT, {"evaluated": False, "epoch": step}, 1)
        before = (tmp_path / f"step-{step:08d}" / STATE).stat().st_mtime_ns
        checkpoints.amend(step, {"evaluated": True}, 1 if step < 3 else 3)
        assert (tmp_path / f"step-{step:08d}" / STATE).stat().st_mtime_ns == before, (
            "the state is written once"
        )
        assert kept(checkpoints) == {1: [1], 2: [1, 2], 3: [3]}[step]
    meta = load(tmp_path / "step-00000003").meta
    assert (meta["evaluated"], meta["epoch"], meta["step"]) == (True, 3, 3)
    with pytest.raises(CheckpointError, match=r"step-00000009.*is missing"):
        checkpoints.amend(9, {}, None)


def test_a_time_below_zero_is_read_as_earlier_versions_could_write_it(tmp_path):
    path = Checkpoints(tmp_path).save(3, {"system": {}, "optimizer": {}}, {"seconds": -0.25}, None)
    assert load(path).meta["seconds"] == -0.25


def test_folders_that_are_no_checkpoints_are_left_alone(tmp_path):
    for name in ("step-12", "step-abc", "notes", "step-00000009"):
        (tmp_path / name).mkdir()
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, STATE_DICT, {}, None)
    checkpoints.save(2, STATE_DICT, {}, None)
    assert kept(checkpoints) == [2]
    assert everything(tmp_path) == ["notes", "step-00000002", "step-00000009", "step-12", "step-abc"]


def test_a_checkpoint_that_is_cut_short_is_seen(saved):
    data = (saved / STATE).read_bytes()
    (saved / STATE).write_bytes(data[:-1])
    with pytest.raises(
        CheckpointError, match=re.escape(f"{saved / STATE}: is damaged or cut short: sha256 ")
    ):
        load(saved)


def test_a_single_changed_bit_is_seen(saved):
    data = bytearray((saved / STATE).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / STATE).write_bytes(data)
    with pytest.raises(CheckpointError, match=re.escape("is damaged or cut short")):
        load(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged: is not JSON: Expecting property name"),
        ("\x00\x00", "is damaged: is not JSON: Expecting value"),
        ("[1, 2]", "is damaged: should be a mapping, found [1, 2]; the checkpoint cannot be used"),
        ('{"format": 1, "step": 7}', "is damaged: `sha256` is missing; the checkpoint cannot be used"),
    ],
)
def test_damaged_meta_is_seen(saved, text, message):
    (saved / META).write_text(text)
    with pytest.raises(CheckpointError, match=re.escape(f"{saved / META}: {message}")):
        load(saved)


def test_missing_files_are_named(saved):
    (saved / STATE).unlink()
    with pytest.raises(
        CheckpointError, match=re.escape(f"{saved / STATE}: is missing; the checkpoint is incomplete")
    ):
        load(saved)
    (saved / META).unlink()
    with pytest.raises(
        CheckpointError, match=re.escape(f"{saved / META}: is missing; the checkpoint is incomplete")
    ):
        load(saved)


def test_a_newer_format_is_refused(saved):
    edit(saved, format=2)
    with pytest.raises(
        CheckpointError, match=re.escape(f"{saved}: format 2, but this sslkit reads 1; use the newer sslkit")
    ):
        load(saved)


def test_the_step_must_be_that_of_the_folder(saved):
    edit(saved, step=8)
    with pytest.raises(
        CheckpointError, match=re.escape(f"{saved / META}: is of step 8, not of this folder's")
    ):
        load(saved)


@pytest.mark.parametrize("step", ["x", 7.5, True])
def test_the_step_must_be_a_whole_number(saved, step):
    edit(saved, step=step)
    with pytest.raises(
        CheckpointError,
        match=re.escape(f"{saved / META}: is damaged: `step` should be a whole number, found {step!r}"),
    ):
        load(saved)


class Evil:
    """Would write a file when unpickled."""

    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("content", ["code", "garbage", "empty"])
def test_a_state_that_is_no_tensor_file_is_refused_and_not_run(saved, capsys, content):
    if content == "code":
        torch.save(Evil(), saved / STATE)
    else:
        (saved / STATE).write_bytes(b"garbage" if content == "garbage" else b"")
    edit(saved, sha256=checksum(saved / STATE))
    with pytest.raises(CheckpointError, match=re.escape(f"{saved / STATE}: is not a torch file of tensors")):
        load(saved)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[1], {"system": {}}, torch.ones(3)])
def test_a_state_of_something_else_is_refused(saved, content):
    torch.save(content, saved / STATE)
    edit(saved, sha256=checksum(saved / STATE))
    with pytest.raises(
        CheckpointError,
        match=re.escape(f"{saved / STATE}: lacks system or optimizer; it is not a checkpoint of a run"),
    ):
        load(saved)


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    paths = [checkpoints.save(step, STATE_DICT, {}, None) for step in (1, 2, 3)]
    assert checkpoints.newest()[0].step == 3
    (paths[2] / STATE).write_bytes(b"")
    (paths[1] / META).write_text("{")
    loaded, damaged = checkpoints.newest()
    assert loaded.step == 1
    assert [str(p) in d for p, d in zip((paths[2], paths[1]), damaged, strict=True)] == [True, True]
    (paths[0] / STATE).unlink()
    with pytest.raises(CheckpointError) as caught:
        checkpoints.newest()
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path}: no checkpoint that can be read"
    assert len(lines) == 4


def test_no_checkpoints_at_all(tmp_path):
    with pytest.raises(
        CheckpointError, match=re.escape(f"{tmp_path / 'none'}: no checkpoint that can be read")
    ):
        Checkpoints(tmp_path / "none").newest()


def test_the_step_stands_in_the_name(tmp_path):
    assert step_of(tmp_path / "step-00000012") == 12
    assert step_of(tmp_path / "step-123456789") == 123456789
    with pytest.raises(CheckpointError, match=re.escape("a checkpoint is a folder called step-NNNNNNNN")):
        step_of(tmp_path / "step-12")
