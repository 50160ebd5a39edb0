"""One process writes a run folder, whoever starts it, and whatever ends the one before."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import yaml

from sslkit.api import Run, resume_run
from sslkit.cli.main import USER_ERROR, main
from sslkit.errors import InUseError, StorageError
from sslkit.evaluate import write_results
from sslkit.runs.checkpoint import FOLDER, Checkpoints
from sslkit.runs.owner import OWNER, STORING, owned
from sslkit.runtime import file_lock
from tests import tiny

HOLD = """
import os, sys, time
if sys.argv[2] == "late":
    os.register_at_fork(after_in_child=lambda: time.sleep(1))  # before the descriptor is closed
from pathlib import Path
from sslkit.runs.owner import OWNER, owned
with owned(Path(sys.argv[1]), print):
    child = os.getpid()
    if sys.argv[2] in ("fork", "late"):
        child = os.fork()
    elif sys.argv[2] == "run":
        child = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60")
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def silent(text):
    raise AssertionError(text)


@pytest.fixture
def other(tmp_path):
    """Starts another process that holds the folder, with a child or without; gives it and its child's id."""
    started, children = [], []

    def start(folder, child="none"):
        command = [sys.executable, "-c", HOLD, str(folder), child]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        children.append(int(process.stdout.readline()))
        return process, children[-1]

    yield start
    for process, child in zip(started, children, strict=True):
        if child != process.pid:
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_and_told_who_has_the_folder(tmp_path, other):
    process, _ = other(tmp_path / "run")
    with pytest.raises(InUseError) as error, owned(tmp_path / "run", silent):
        pass
    text = str(error.value)
    assert text.startswith(
        f"{tmp_path / 'run'}: process {process.pid} on {socket.gethostname()}, since {time.strftime('%Y-')}"
    )
    assert str(tmp_path / "run") in text.split("(`")[1], "the command"
    assert text.endswith("is writing it. Wait until that has ended, or choose another folder")


@pytest.mark.parametrize("child", ["none", "fork", "late", "run"])
def test_sigkill_frees_the_folder_though_workers_live_on(tmp_path, other, child):
    process, pid = other(tmp_path / "run", child)
    process.kill()
    process.wait()
    if child != "none":
        os.kill(pid, 0)  # it lives
    with owned(tmp_path / "run", silent):
        holder = json.loads((tmp_path / "run" / OWNER).read_text())
    assert holder["pid"] == os.getpid()


def test_a_lock_that_outlives_its_process_is_waited_for_and_then_refused(tmp_path, monkeypatch):
    """As in another container that goes by the name of this one."""
    monkeypatch.setattr("sslkit.runs.owner.AFTERLIFE", 0.3)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    holder = json.dumps({"host": socket.gethostname(), "pid": process.pid, "since": "then", "command": "x"})
    monkeypatch.setattr(
        "sslkit.runs.owner._sign", lambda descriptor: os.pwrite(descriptor, holder.encode(), 0)
    )
    with owned(tmp_path, silent):
        begun = time.monotonic()
        with pytest.raises(InUseError, match=f"process {process.pid} on"), owned(tmp_path, silent):
            pass
        assert time.monotonic() - begun >= 0.3


def test_a_child_that_is_forked_takes_nothing_from_its_parent(tmp_path):
    with owned(tmp_path / "run", silent):
        child = os.fork()
        if not child:  # pragma: no cover
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(InUseError), owned(tmp_path / "run", silent):
            pass
    with owned(tmp_path / "run", silent):
        pass


def test_two_threads_are_two_owners(tmp_path):
    refused = []

    def second():
        try:
            with owned(tmp_path / "run", silent):
                refused.append(None)
        except InUseError as error:
            refused.append(str(error))

    with owned(tmp_path / "run", silent):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} on" in refused[0]


def test_whoever_may_wait_gets_it_once_it_is_free(tmp_path):
    entered, left = threading.Event(), []

    def first():
        with owned(tmp_path, silent, STORING):
            entered.set()
            time.sleep(0.3)
            left.append(True)

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait()
    with owned(tmp_path, silent, STORING, wait=20):
        assert left
    thread.join()


def test_nothing_stays_of_a_folder_that_nothing_was_put_into(tmp_path):
    with owned(tmp_path / "a" / "run", silent):
        assert (tmp_path / "a" / "run" / OWNER).is_file()
    assert list(tmp_path.iterdir()) == []
    with owned(tmp_path, silent):
        assert (tmp_path / OWNER).is_file()
    assert list(tmp_path.iterdir()) == [], "the folder was there before"


def test_a_folder_with_a_run_keeps_its_lock_file(tmp_path):
    for _ in range(2):
        with owned(tmp_path / "run", silent):
            (tmp_path / "run" / "x").touch()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [OWNER, "x"]


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(tmp_path, monkeypatch):
    """The one before it removed file and folder, as nothing came into it, after this one had opened the file."""
    lock, path = file_lock.lock, tmp_path / OWNER

    def removed_then_locked(descriptor):
        monkeypatch.setattr("sslkit.runs.owner.lock", lock)
        path.unlink()
        return lock(descriptor)

    monkeypatch.setattr("sslkit.runs.owner.lock", removed_then_locked)
    (tmp_path / "run").touch()
    with owned(tmp_path, silent, wait=5):
        assert path.is_file()
        with pytest.raises(InUseError), owned(tmp_path, silent):
            pass


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", refuse)
    warnings = []
    with owned(tmp_path, warnings.append):
        pass
    assert warnings == [
        f"warning: {tmp_path}: its file system has no locks (Function not implemented), so nothing keeps a second "
        "process out of it; start one at a time"
    ]


def test_windows_locks_a_byte_behind_the_text(tmp_path, monkeypatch):
    class Msvcrt:
        LK_NBLCK = 2
        calls: list[tuple[int, int, int]] = []  # noqa: RUF012
        held = False

        def locking(self, descriptor, mode, count):
            self.calls.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))
            if self.held:
                raise PermissionError(errno.EACCES, "Permission denied")

    windows = Msvcrt()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    with owned(tmp_path, silent):
        assert windows.calls == [(file_lock.FAR, 2, 1)]
        assert json.loads((tmp_path / OWNER).read_bytes())["pid"] == os.getpid(), "at its start"
        windows.held = True
        with pytest.raises(InUseError, match=f"process {os.getpid()} on"), owned(tmp_path, silent):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with (
        pytest.raises(StorageError, match="Choose a folder that may be written"),
        owned(tmp_path / "run", silent),
    ):
        pass


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff"])
def test_a_lock_file_that_says_nothing_still_locks(tmp_path, monkeypatch, text):
    monkeypatch.setattr("sslkit.runs.owner._sign", lambda descriptor: os.pwrite(descriptor, text, 0))
    refused = pytest.raises(InUseError, match="another process is writing it")
    with owned(tmp_path, silent), refused, owned(tmp_path, silent):
        pass


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(
        yaml.safe_dump(tiny.fields(tmp_path / "run", steps=3, evaluate=[{"kind": "knn", "k": 3}]))
    )
    return path


def test_every_way_to_train_is_refused_while_another_trains(tmp_path, spec, capsys):
    """Also before the first checkpoint, when any run may begin in the folder."""
    with owned(tmp_path / "run", silent):
        assert main(["run", str(spec)]) == USER_ERROR
        assert "is writing it. Wait until that has ended" in capsys.readouterr().err
        with pytest.raises(InUseError):
            Run.from_yaml(spec).fit()
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [OWNER]
    assert main(["run", str(spec), "steps=2"]) == 0
    (tmp_path / "run" / "summary.json").unlink()
    with owned(tmp_path / "run", silent):
        assert main(["resume", str(tmp_path / "run")]) == USER_ERROR
        with pytest.raises(InUseError):
            resume_run(tmp_path / "run")
        assert not (tmp_path / "run" / "summary.json").exists()
    assert main(["resume", str(tmp_path / "run")]) == 0


def test_results_are_written_by_one_at_a_time(tmp_path, spec, capsys, monkeypatch):
    """A run that trains can be evaluated and reported; whoever writes results waits for the other."""
    assert main(["run", str(spec)]) == 0
    run = tmp_path / "run"
    with owned(run, silent):
        assert main(["evaluate", str(run), "--no-cache"]) == 0
        assert main(["report", str(run), "--fast"]) == 0
        assert main(["run", str(spec)]) == 0, "it is finished: nothing is written"
    monkeypatch.setattr(write_results, "PATIENCE", 0.0)
    capsys.readouterr()
    with owned(run, silent, STORING):
        assert main(["evaluate", str(run), "--no-cache"]) == USER_ERROR
    error = capsys.readouterr().err
    assert "is writing it" in error
    assert "knn: accuracy" in error, "what was computed is not lost"


def test_a_run_holds_results_that_another_process_keeps_it_from_writing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(write_results, "PATIENCE", 0.0)
    evaluate = [{"kind": "knn", "k": 3, "every": "2 steps"}]
    spec = tiny.spec(tmp_path / "run", steps=4, evaluate=evaluate, checkpoint={"every": "1 steps"})
    held, save, free = owned(tmp_path / "run", silent, STORING), Checkpoints.save, []

    def save_and_free(checkpoints, step, *rest):
        if step == 3 and not free:
            free.append(held.__exit__(None, None, None))
        return save(checkpoints, step, *rest)

    monkeypatch.setattr(Checkpoints, "save", save_and_free)
    held.__enter__()
    result = Run(**dict(spec)).fit()
    assert result.summary["finished"]
    assert free
    steps = sorted(path.name for path in (tmp_path / "run" / "evaluations").iterdir())
    assert steps == ["step-00000002", "step-00000004"]
    assert [path.name for path in Checkpoints(tmp_path / "run" / FOLDER).all()][-1] == "step-00000004"
