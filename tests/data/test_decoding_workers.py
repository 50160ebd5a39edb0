"""Worker processes that die, run out of shared memory or stand still."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from sslkit.cli.main import main
from sslkit.data import decoding_workers
from sslkit.data.decoding_workers import Loading, batches
from sslkit.errors import WorkerError
from sslkit.runs.checkpoint import FOLDER, Checkpoints
from sslkit.specs.load import dump
from sslkit.train.launch import resume, train
from sslkit_sources.folder import FolderSource
from tests import tiny
from tests.cli.specs import folder, images
from tests.train.test_trainer import numbers, silent, stop_at

TWO = Loading(2, "batch_size")


class Counting(Dataset):
    """Tensors of their index; `at` does something at index 8."""

    def __init__(self, at=lambda: None, size=3):
        self.at, self.size = at, size

    def __getitem__(self, index):
        if index == 8:
            self.at()
        return torch.full((self.size,), index)


def plan(count=10):
    return [[2 * i, 2 * i + 1] for i in range(count)]


def end(number):
    return lambda: os.kill(os.getpid(), number)


def gone():
    """Whether no child of this process is left."""
    return not [process for process in multiprocessing.active_children() if process.daemon]


def test_more_workers_than_cores_are_no_warning(monkeypatch, recwarn):
    """The default of 4 on two cores; torch warns twice, when a loader is made and when it starts."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert len(list(batches(Counting(), plan(3), torch.stack, TWO))) == 3
    assert [str(warning.message) for warning in recwarn if "worker" in str(warning.message)] == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_batches_come_in_order_and_leave_no_process(count):
    values = [b.tolist() for b in batches(Counting(), plan(), torch.stack, Loading(count, "batch_size"))]
    assert values == [[[2 * i] * 3, [2 * i + 1] * 3] for i in range(10)]
    assert gone()


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (
            end(signal.SIGKILL),
            r"^a worker process was killed \(SIGKILL\), as the system does when memory runs out: each worker holds its "
            r"own images and batches\. Use fewer `workers` \(now 2\) or a smaller `batch_size`$",
        ),
        (
            end(signal.SIGBUS),
            r"^worker processes ran out of shared memory \(/dev/shm has \d+ MiB\)\. Use fewer `workers` \(now 2\) or a "
            r"smaller `batch_size`, or enlarge it \(Docker: --shm-size=8g\)$",
        ),
        (end(signal.SIGSEGV), r"^a worker process was ended by SIGSEGV\. `workers: 0` \(now 2\) shows more"),
        (lambda: os._exit(3), r"^a worker process was ended with exit code 3\. "),
    ],
)
def test_a_worker_that_dies_is_told_by_its_cause_within_seconds(at, reason):
    begun, seen = time.monotonic(), []
    with pytest.raises(WorkerError, match=reason):
        seen += batches(Counting(at), plan(), torch.stack, TWO)
    assert time.monotonic() - begun < 20
    assert gone()


def end_with_locks():
    """As a kill in the midst of `is_set` of what torch shares with workers: its lock is never let go."""
    frame = sys._getframe()
    while "done_event" not in frame.f_locals:
        frame = frame.f_back
    condition = getattr(frame.f_locals["done_event"], "_cond", None)
    if condition is not None:
        condition.acquire()
    end(signal.SIGKILL)()


def test_a_worker_that_is_killed_with_a_lock_leaves_nobody_waiting():
    code = (
        "from tests.data.test_decoding_workers import *; "
        "list(batches(Counting(end_with_locks), plan(), torch.stack, TWO))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, "and not a wait until the time is over"
    assert "a worker process was killed (SIGKILL)" in done.stderr


ORPHANS = """
import multiprocessing, os, signal, torch
from tests.data.test_decoding_workers import *

if __name__ == "__main__":
    multiprocessing.set_start_method("{method}")
    supply = batches(Counting(int), plan(40), torch.stack, TWO)
    next(supply)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_do_not_outlive_a_run_that_is_killed(tmp_path, method):
    """Python 3.14 starts them by a fork server, whose workers have no parent that dies with the run."""
    script = tmp_path / "run.py"
    script.write_text(ORPHANS.format(method=method))
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=False, env=here
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    workers = [Path("/proc") / pid for pid in done.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(path.exists() for path in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [path.name for path in workers if path.exists()]


def test_a_worker_that_dies_is_not_told_in_the_midst_of_other_work():
    """Torch's handler of SIGCHLD raises wherever the main process is, as between two updates of a step."""
    supply = batches(Counting(), plan(40), torch.stack, TWO)
    next(supply)
    for process in multiprocessing.active_children():
        process.kill()
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        sum(range(1000))
    with pytest.raises(WorkerError, match="SIGKILL"):
        list(supply)
    assert gone()


def test_a_batch_that_finds_no_shared_memory_is_told_at_once(monkeypatch):
    """Left to the queue's own thread it would be dropped, and waited for forever."""

    def full(tensor):
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(WorkerError, match=r"^worker processes ran out of shared memory \(/dev/shm has"):
        list(batches(Counting(), plan(), torch.stack, TWO))
    assert gone()


def test_other_errors_of_a_dataset_are_its_own():
    def fail():
        raise ZeroDivisionError("in the plugin")

    with pytest.raises(ZeroDivisionError, match="in the plugin"):
        list(batches(Counting(fail), plan(), torch.stack, TWO))
    assert gone()


def test_workers_that_stand_still_are_given_up(monkeypatch):
    monkeypatch.setattr(decoding_workers, "PATIENCE", 2.0)
    begun = time.monotonic()
    with pytest.raises(WorkerError, match=r"live but have given no batch for 2 s.*`workers: 0` \(now 2\)"):
        list(batches(Counting(lambda: time.sleep(600)), plan(), torch.stack, TWO))
    assert time.monotonic() - begun < 20
    assert gone(), "though they ignore SIGTERM"


def test_leaving_does_not_wait_for_a_worker_that_stands_still():
    supply = batches(Counting(lambda: time.sleep(600)), plan(), torch.stack, TWO)
    next(supply)
    begun = time.monotonic()
    supply.close()
    assert time.monotonic() - begun < 5
    assert gone()


def test_processes_that_cannot_be_started_are_told(monkeypatch):
    def fail(self):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", fail)
    with pytest.raises(WorkerError, match=r"^2 worker processes cannot be started: Resource temp"):
        list(batches(Counting(), plan(), torch.stack, TWO))


def test_too_many_open_files_name_the_limit(monkeypatch):
    def fail(self):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter._next_data", fail)
    with pytest.raises(WorkerError, match=r"raise `ulimit -n`"):
        list(batches(Counting(), plan(), torch.stack, TWO))


def test_shared_memory_that_cannot_hold_what_is_ready_is_told_with_the_first_batch(monkeypatch):
    monkeypatch.setattr(decoding_workers, "_shared_memory", lambda: 1 << 20)
    told = []
    how = TWO._replace(warn=told.append)
    list(batches(Counting(size=20000), plan(), torch.stack, how))
    assert told == [
        "batches of 2 workers may take 2 MiB of shared memory. worker processes may run out of shared memory "
        "(/dev/shm has 1 MiB). Use fewer `workers` (now 2) or a smaller `batch_size`, or enlarge it "
        "(Docker: --shm-size=8g)"
    ]
    told.clear()
    list(batches(Counting(size=20), plan(), torch.stack, how))
    assert told == []


def test_a_system_that_does_not_tell_its_shared_memory_is_trusted(monkeypatch):
    monkeypatch.setattr(decoding_workers, "SHARED_MEMORY", Path("/nowhere"))
    assert decoding_workers._shared_memory() is None
    assert len(list(batches(Counting(), plan(), torch.stack, TWO))) == 10
    with pytest.raises(WorkerError, match=r"^worker processes ran out of shared memory\. Use"):
        list(batches(Counting(end(signal.SIGBUS)), plan(), torch.stack, TWO))


def fields(tmp_path, out, workers=2):
    return {
        "out": tmp_path / out,
        "data": folder(tmp_path / "images"),
        "batch_size": 8,
        "micro_batch_size": 4,
        "resident": "0 MiB",
        "steps": 12,
        "checkpoint": {"every": "50 steps"},
        "workers": workers,
    }


@pytest.fixture
def pictures(tmp_path):
    images(tmp_path / "images", 40, side=12)
    return tmp_path


def test_a_run_whose_worker_is_killed_ends_saved_and_resumes_bit_equal(pictures, monkeypatch, capsys):
    whole = train(tiny.spec(**fields(pictures, "whole", 0)), silent)
    spec = pictures / "spec.yaml"
    spec.write_text(dump(tiny.spec(**fields(pictures, "run"))))

    def kill():
        for process in multiprocessing.active_children():
            process.kill()
        time.sleep(0.5)

    with monkeypatch.context() as patch:
        stop_at(patch, 5, kill)
        begun = time.monotonic()
        assert main(["run", str(spec)]) == 2
    assert time.monotonic() - begun < 30
    newest = Checkpoints(pictures / "run" / FOLDER).all()[-1]
    assert int(newest.name.removeprefix("step-")) >= 5, "nothing that was computed is lost"
    told = capsys.readouterr().err
    (line,) = [text for text in told.splitlines() if text.startswith("error: ")]
    assert "a worker process was killed (SIGKILL), as the system does when memory runs out" in line
    assert "Use fewer `workers` (now 2) or a smaller `micro_batch_size`" in line
    assert line.endswith(f"checkpoint is {newest}; `sslkit resume {pictures / 'run'}` continues from it.")
    assert "bug" not in told
    resumed = resume(pictures / "run", silent)
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert numbers(pictures / "run") == numbers(pictures / "whole")


def test_an_evaluation_whose_worker_is_killed_is_owed(tmp_path, monkeypatch):
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            images(tmp_path / split / name, 8, side=12)
    data = folder(tmp_path / "train", test=str(tmp_path / "test"))
    evaluator = {"kind": "knn", "k": 2, "every": "3 steps"}
    changes = {**fields(tmp_path, "run"), "data": data, "evaluate": [evaluator]}
    whole = train(tiny.spec(**{**changes, "out": tmp_path / "whole"}), silent)
    original, process = FolderSource.load, os.getpid()

    def load(self, index):
        if os.getpid() != process and self.root == tmp_path / "test":
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "load", load)
        with pytest.raises(
            WorkerError, match=r"^evaluate\.0: .*killed \(SIGKILL\).*a smaller `readout.batch_size`"
        ):
            train(tiny.spec(**changes), silent)
    assert Checkpoints(tmp_path / "run" / FOLDER).all()[-1].name == "step-00000003"
    resumed = resume(tmp_path / "run", silent)
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")


def test_dockers_shared_memory_ends_a_run_within_seconds(pictures):
    """A /dev/shm of 64 KiB in a mount namespace of its own."""
    spec = pictures / "spec.yaml"
    changes = {"views": {"global": {**tiny.VIEW, "size": 64}}, "backbone": {**tiny.VIT, "patch": 32}}
    spec.write_text(dump(tiny.spec(**{**fields(pictures, "run"), **changes})))
    inside = f"mount -t tmpfs -o size=64k tmpfs /dev/shm && exec {sys.executable} -m sslkit run {spec}"
    allowed = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip("a mount namespace can be made by root on Linux only")
    begun = time.monotonic()
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert time.monotonic() - begun < 60
    assert "error: " in done.stderr
    assert "ran out of shared memory (/dev/shm has 0 MiB). Use fewer `workers` (now 2)" in done.stderr
    assert "Traceback" not in done.stderr
