"""Running the cells of a sweep: shares, locks, signals, failures, and resuming the whole."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import sslkit
from sslkit.analysis.sweep import run_cells as module
from sslkit.analysis.sweep.cells import is_finished, require_own_folders
from sslkit.analysis.sweep.run_cells import CellShare, Ended, Stop, run_cells, share_of, sweep, write_results
from sslkit.errors import Interrupted, SpecError
from sslkit.runs import metrics_log
from sslkit.specs.sweep import SweepSpec, grid
from sslkit.train.launch import train
from tests import tiny
from tests.distributed.test_two_ranks import torchrun
from tests.train import fake_cell


@pytest.fixture
def fake(monkeypatch):
    """Cells are stood in for by a small program."""
    monkeypatch.setattr(module, "COMMAND", fake_cell.COMMAND)


def cells(tmp_path, rows=None, **axes):
    return grid(SweepSpec(name="mine", out=tmp_path / "out", base=tiny.fields(), rows=rows or {}, axes=axes))


def run(made, share=None, **options):
    """Run a share: what became of its cells by name, and what was said."""
    said = []
    with Stop() as stop:
        ended = run_cells(made, share or CellShare(), stop, said.append, **options)
    return {one.name: one for one in ended}, said


def leave(spec, finished=True):
    """The folder of a run of `spec`."""
    fake_cell.leave(spec.model_dump(mode="json"), finished)


def times_made(made):
    return {
        cell.name: len(path.read_text().splitlines()) if (path := cell.spec.run_dir / "made").exists() else 0
        for cell in made.cells
    }


def wait_for(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("environ", "given", "expected"),
    [
        ({}, (None, None), CellShare(0, 1)),
        ({}, (1, 3), CellShare(1, 3)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (None, None), CellShare(1, 2, 1, 2)),
        ({"RANK": "3"}, (None, None), CellShare(0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "1"}, (1, 2), CellShare(1, 2)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (2, 3), CellShare(5, 6, 1, 2)),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "1"}, (None, None),
         CellShare(2, 4)),
        ({"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_STEP": "2"}, (None, None),
         CellShare(3, 4)),
        ({"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_COUNT": "4"}, (0, 2), CellShare(0, 2)),
    ],
)  # fmt: skip
def test_shares_are_told_by_arguments_slurm_and_torchrun(environ, given, expected):
    assert share_of(environ, *given) == expected


@pytest.mark.parametrize(
    ("environ", "given", "message"),
    [
        ({}, (0, None), "--index and --of go together"),
        ({}, (None, 2), "--index and --of go together"),
        ({}, (2, 2), "share 2 of 2: indices count from 0"),
        ({}, (-1, 2), "share -1 of 2"),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"}, (None, None),
         "SLURM array index 7 is not evenly spaced: submit with --array=0-2"),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_STEP": "2"}, (None, None),
         "not evenly spaced"),
    ],
)  # fmt: skip
def test_shares_that_do_not_fit_are_refused(environ, given, message):
    with pytest.raises(SpecError, match=message):
        share_of(environ, *given)


@given(st.integers(0, 40), st.integers(1, 4), st.integers(1, 3))
def test_shares_are_disjoint_and_whole(count, of, ranks):
    """Over array indices and ranks together."""
    taken = Counter()
    for index in range(of):
        for rank in range(ranks):
            share = share_of({"RANK": str(rank), "WORLD_SIZE": str(ranks)}, index, of)
            taken.update(range(count)[share.first :: share.of])
    assert taken == Counter(range(count))


def test_each_cell_is_a_process_with_its_spec_and_a_log(tmp_path, fake):
    made = cells(tmp_path, {"a": {}, "b": {"batch_size": 16}}, seed=(0, 1))
    ended, said = run(made)
    assert {name: one.state for name, one in ended.items()} == dict.fromkeys(ended, "finished")
    assert times_made(made) == dict.fromkeys(["a__seed-0", "b__seed-0", "a__seed-1", "b__seed-1"], 1)
    assert said[0] == f"[1/4] a__seed-0: runs; its output: {made.folder}/.sweep/a__seed-0.log"
    assert said[1].startswith("[1/4] a__seed-0: finished in ")
    assert (made.folder / ".sweep" / "b__seed-1.log").read_text() == "b began\n"
    lock = yaml.safe_load((made.folder / "b__seed-1" / "spec.lock.yaml").read_text())
    assert (lock["spec"]["seed"], lock["spec"]["batch_size"], lock["spec"]["name"]) == (1, 16, "b")


def test_finished_cells_are_not_made_again(tmp_path, fake):
    made = cells(tmp_path, seed=(0, 1))
    run(made, CellShare(0, 2))
    ended, said = run(made)
    assert [one.state for one in ended.values()] == ["already finished", "finished"]
    assert said[0] == "[1/2] seed-0: already finished"
    assert set(times_made(made).values()) == {1}


def test_finished_means_this_very_run(tmp_path):
    """A folder whose run had other fields is not the cell's, even where its checkpoints were removed."""
    (cell,) = cells(tmp_path, seed=(0,)).cells
    assert not is_finished(cell)
    leave(cell.spec, finished=False)
    assert not is_finished(cell)
    leave(cell.spec)
    assert is_finished(cell)
    assert is_finished(cell._replace(spec=cell.spec.model_copy(update={"name": "other", "workers": 3})))
    assert not is_finished(cell._replace(spec=cell.spec.model_copy(update={"steps": 9})))
    (cell.spec.run_dir / "spec.lock.yaml").write_text("no: lock")
    assert not is_finished(cell)


def test_folders_of_other_runs_are_refused_before_anything_runs(tmp_path):
    made = cells(tmp_path, seed=(0, 1, 2))
    for cell in made.cells[1:]:
        leave(cell.spec.model_copy(update={"batch_size": 99}))
        checkpoint = cell.spec.run_dir / "checkpoints" / "step-00000008"
        checkpoint.mkdir(parents=True)
        for name in ("state.pt", "meta.json"):
            (checkpoint / name).write_text("{}")
    with pytest.raises(SpecError) as error:
        require_own_folders(made.cells)
    first, *others = str(error.value).splitlines()
    assert first == "nothing was started:"
    assert [f"{made.folder}/seed-{i}: holds a different run (its batch_size differs)" in o for i, o in
            enumerate(others, 1)] == [True, True]  # fmt: skip


def test_a_cell_that_fails_is_told_and_the_others_go_on(tmp_path, fake):
    made = cells(tmp_path, seed=(13, 0, 14, 15, 16, 1))
    ended, said = run(made)
    assert [one.state for one in ended.values()] == [
        "failed",
        "finished",
        "failed",
        "failed",
        "failed",
        "finished",
    ]
    log = made.folder / ".sweep" / "seed-15.log"
    assert [one.reason for one in ended.values()] == [
        "error: no luck", "", "ended by SIGKILL (often for want of memory)",
        f"ended with exit code 7 before its last step; see {log}",
        f"ended with exit code 0 before its last step; see {made.folder / '.sweep' / 'seed-16.log'}", "",
    ]  # fmt: skip
    assert "[1/6] seed-13: failed: error: no luck" in said
    again, _ = run(made)
    assert again["seed-13"].state == "failed", "it is tried again"
    assert again["seed-0"].state == "already finished"
    assert (made.folder / ".sweep" / "seed-13.log").read_text().count("error: no luck") == 2


def test_an_old_error_in_the_log_is_not_the_reason(tmp_path, fake):
    made = cells(tmp_path, seed=(15,))
    (made.folder / ".sweep").mkdir(parents=True)
    (made.folder / ".sweep" / "seed-15.log").write_text("error: of last week\n")
    ended, _ = run(made)
    assert "last week" not in ended["seed-15"].reason


def test_the_first_failure_may_end_it(tmp_path, fake):
    made = cells(tmp_path, seed=(0, 13, 1))
    ended, _ = run(made, stop_on_error=True)
    assert {name: one.state for name, one in ended.items()} == {"seed-0": "finished", "seed-13": "failed"}


def test_three_workers_with_shares_make_every_cell_once(tmp_path, fake):
    made = cells(tmp_path, seed=tuple(range(7)))
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda i: run(made, CellShare(i, 3))[0], range(3)))
    assert [sorted(part) for part in parts] == [
        ["seed-0", "seed-3", "seed-6"], ["seed-1", "seed-4"], ["seed-2", "seed-5"],
    ]  # fmt: skip
    assert times_made(made) == {cell.name: 1 for cell in made.cells}


def test_workers_without_shares_make_every_cell_once_too(tmp_path, fake, monkeypatch):
    """The same command twice at once: locks keep a cell to one of them, and both end when all is done."""
    monkeypatch.setattr(module, "LOOK", 0.05)
    made = cells(tmp_path, seed=tuple(range(5)))
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda _: run(made)[0], range(2)))
    assert times_made(made) == {cell.name: 1 for cell in made.cells}
    states = Counter(one.state for part in parts for one in part.values())
    assert states == {"finished": 5, "already finished": 5}


def test_a_cell_whose_sweep_was_killed_is_waited_for(tmp_path, fake, monkeypatch):
    """The child of a dead sweep holds the lock until it ends."""
    monkeypatch.setattr(module, "LOOK", 0.05)
    made = cells(tmp_path, seed=(0,))
    path = made.folder / ".sweep" / "seed-0.lock"
    path.parent.mkdir(parents=True)
    hold = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('', flush=True);"
    orphan = subprocess.Popen(
        [sys.executable, "-c", hold + "time.sleep(60)", str(path)], stdout=subprocess.PIPE
    )
    assert orphan.stdout is not None
    orphan.stdout.readline()
    threading.Timer(0.5, orphan.kill).start()
    ended, said = run(made)
    orphan.communicate()
    assert said[0] == "seed-0: another process is making it"
    assert said.count(said[0]) == 1
    assert ended["seed-0"].state == "finished", "the lock of a dead process is no lock"


def test_a_signal_stops_the_cell_and_then_the_sweep(tmp_path, fake):
    made = cells(tmp_path, seed=(0, 17, 1))

    def ask():
        wait_for(made.folder / "waits")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    ended, said = run(made)
    thread.join()
    assert {name: one.state for name, one in ended.items()} == {"seed-0": "finished", "seed-17": "stopped"}
    assert said[-1] == "[2/3] seed-17: stopped by SIGTERM"
    assert json.loads((made.folder / "seed-17" / "summary.json").read_text())["finished"] is False, "it saved"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "signals are given back"


def test_what_schedulers_send_stops_a_sweep_too_and_a_loop_over_sweeps(tmp_path, fake):
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(tiny.fields()))

    def ask():
        wait_for(tmp_path / "out" / "waits")
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(Interrupted, match="stopped by SIGUSR1; the same call goes on") as caught:
        module.sweep(base, {"seed": (0, 17, 1)}, out=tmp_path / "out", say=lambda _: None)
    thread.join()
    assert isinstance(caught.value, KeyboardInterrupt)
    assert (tmp_path / "out" / "sweep.json").is_file(), "what is finished is in the table"
    assert not (tmp_path / "out" / "seed-1").exists()


def test_a_signal_between_cells_begins_no_other(tmp_path, fake):
    made, stop = cells(tmp_path, seed=(0, 1)), Stop()
    with stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == "SIGINT"
        assert run_cells(made, CellShare(), stop, lambda _: None) == []
    assert not any(times_made(made).values())


def test_a_second_signal_reaches_the_cell_as_one():
    """The first asks it to save, the second to leave at once."""
    code = (
        "import signal, sys, time; got = []\n"
        "def note(n, f):\n got.append(n)\n if len(got) == 2: print(got, flush=True); sys.exit()\n"
        "for n in (2, 15): signal.signal(n, note)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with Stop() as stop:
        stop._process = process
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        assert process.communicate(timeout=30)[0] == b"[15, 15]\n"
        assert stop.wait(process) == 0


def test_a_cell_sees_no_ranks_and_the_gpu_of_its_rank(monkeypatch):
    ranks = {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "x",
        "TORCHELASTIC_RUN_ID": "y",
    }
    for name, value in {**ranks, "LOCAL_DATA": "kept", "GROUP_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = module._environment()
    assert not set(found) & {*ranks, "GROUP_RANK"}
    assert (found["LOCAL_DATA"], found["CUDA_VISIBLE_DEVICES"]) == ("kept", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert module._environment()["CUDA_VISIBLE_DEVICES"] == "6"
    monkeypatch.delenv("WORLD_SIZE")
    assert module._environment()["CUDA_VISIBLE_DEVICES"] == "4,6", (
        "without ranks a cell has what the sweep has"
    )


def test_the_function_takes_specs_files_rows_and_axes(tmp_path, fake):
    assert sslkit.sweep is sweep
    out = tmp_path / "from_spec"
    rows = {"a": {"optimizer.lr": 0.5}, "bad": {"optimizer.lr": 0.25}}
    found = sweep(tiny.spec(), axes={"seed": [0, 1, 13]}, rows=rows, out=out, say=lambda _: None)
    assert [line.setting for line in found.lines] == ["a", "bad"]
    assert found.lines[0].seeds == (0, 1)
    assert found.lines[0].values["loss"] == (1.5, 1.0)
    assert found.failed == {"a__seed-13": "error: no luck", "bad__seed-13": "error: no luck"}
    assert found.missing == ("a__seed-13", "bad__seed-13")
    assert json.loads((out / "sweep.json").read_text()) == found.to_json()
    path = tmp_path / "sweep.yaml"
    file = {
        "base": tiny.fields(),
        "rows": {"a": {}},
        "axes": {"seed": [5]},
        "out": str(tmp_path / "from_file"),
    }
    path.write_text(yaml.safe_dump(file))
    found = sweep(path, axes={"seed": (6,)}, say=lambda _: None)
    assert [run.cell.name for run in found.runs] == ["a__seed-6"]
    with pytest.raises(SpecError, match="2 cells are wrong"):
        sweep(path, axes={"steps": ("few", "many")})


@pytest.mark.parametrize(
    ("axes", "rows", "message"),
    [
        ({"balance.kind": "pcgrad"}, {}, "axes.balance.kind: must be a sequence of values, as in"),
        ({"seed": 3}, {}, "axes.seed: must be a sequence of values, as in (0, 1, 2), found 3"),
        ({"objective": {"kind": "mae"}}, {}, "axes.objective: must be a sequence"),
        ({"seed": (0,)}, {"a": None}, "rows.a: must be a mapping"),
        ({"seed": (0,)}, {"a": "steps"}, "rows.a: must be a mapping"),
    ],
)
def test_the_function_refuses_what_is_no_sweep(tmp_path, fake, axes, rows, message):
    """A text would be swept letter by letter."""
    with pytest.raises(SpecError, match=re.escape(message)):
        sweep(tiny.spec(), axes=axes, rows=rows, out=tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_the_function_takes_any_sequence(tmp_path, fake):
    found = sweep(tiny.spec(), axes={"seed": range(2)}, out=tmp_path / "out", say=lambda _: None)
    assert found.lines[0].seeds == (0, 1)


def test_folders_that_cannot_be_locked_are_told(tmp_path, fake, monkeypatch):
    """As on Lustre without `-o flock`."""

    def refuse(descriptor, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    made = cells(tmp_path, seed=(0,))
    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(
        SpecError, match=r"seed-0\.lock: cannot be locked \(Function not implemented\).*--out"
    ):
        run(made)
    assert not any(times_made(made).values())


def test_a_worker_that_writes_the_table_is_waited_for(tmp_path):
    """Else one that read the cells before the last ended could write its table after that of the last."""
    made = cells(tmp_path, seed=(0, 1))
    leave(made.cells[0].spec)
    with ThreadPoolExecutor(1) as pool:
        with module._claimed(hidden_table(made)):
            waiting = pool.submit(write_results, made, [Ended("seed-9", "failed", "error: no luck")])
            time.sleep(0.3)
            assert not waiting.done()
            assert not (made.folder / "sweep.csv").exists()
            leave(made.cells[1].spec)
        found = waiting.result()
    assert [one.cell.name for one in found.runs] == ["seed-0", "seed-1"], "read when it was its turn"
    assert found.failed == {"seed-9": "error: no luck"}
    assert len((made.folder / "sweep.csv").read_text().splitlines()) == 3


def hidden_table(made):
    path = made.folder / ".sweep" / ".table.lock"
    path.parent.mkdir(parents=True)
    return path


def test_what_watches_over_cells_is_light(tmp_path):
    """For days, beside the cells: neither torch nor images nor statistics before the table at the end."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(tiny.fields()))
    leave(cells(tmp_path, seed=(0,)).cells[0].spec)  # it looks at finished ones too
    code = (
        "import sys\nfrom sslkit.cli.main import main\nfrom sslkit.analysis.sweep import run_cells\n"
        "class Told(tuple):\n    def __iter__(self):\n"
        "        print('heavy:', *({'torch', 'numpy', 'scipy', 'PIL'} & {*sys.modules}))\n"
        "        return super().__iter__()\n"
        f"run_cells.COMMAND = Told({fake_cell.COMMAND!r})\nsys.exit(main(sys.argv[1:]))\n"
    )
    words = [sys.executable, "-c", code, "sweep", str(spec), "seed=0,1", "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "seed-0: already finished" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("heavy:")] == ["heavy:"]


TINY = {"steps": 30, "checkpoint": {"every": "4 steps"}, "evaluate": [{"kind": "knn"}]}


def outcome(folder):
    """What training left behind, times and paths left out."""
    summary = json.loads((folder / "summary.json").read_text())
    losses = [(e["step"], e["loss"]) for e in metrics_log.read(folder) if "loss" in e]
    return summary["weights_sha256"], summary["best"], losses


def test_killed_and_repeated_it_ends_like_one_that_was_not(tmp_path):
    """SIGKILL of the whole process group, as of a machine that is switched off, in the midst of the first cell."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(tiny.fields(**TINY)))
    words = [sys.executable, "-m", "sslkit", "sweep", str(spec), "seed=1", "--out"]
    cut = tmp_path / "cut"
    process = subprocess.Popen([*words, str(cut)], start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(entry["step"] >= 10 for entry in metrics_log.read(cut / "seed-1")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (cut / "seed-1" / "summary.json").exists()
    again = subprocess.run([*words, str(cut)], capture_output=True, text=True, timeout=240, check=False)
    assert again.returncode == 0, again.stderr
    assert "1 of 1 cells are finished" in again.stdout
    log = (cut / ".sweep" / "seed-1.log").read_text()
    assert "continuing it" in log
    assert "Traceback" not in log, "nor when its process ends"
    train(tiny.spec(tmp_path / "whole", **TINY, seed=1), say=lambda _: None)
    assert outcome(cut / "seed-1") == outcome(tmp_path / "whole")


def test_ranks_of_torchrun_share_the_cells(tmp_path):
    """Each rank makes its cells in one process without ranks, waits for the other, and the first tells of all."""
    spec, out = tmp_path / "spec.yaml", tmp_path / "out"
    spec.write_text(yaml.safe_dump(tiny.fields()))
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import sys\nfrom sslkit.cli.main import main\nfrom sslkit.analysis.sweep import run_cells\n"
        f"run_cells.COMMAND = {fake_cell.COMMAND!r}\nsys.exit(main(sys.argv[1:]))\n"
    )
    printed = torchrun(worker, "sweep", spec, "seed=0,1,2", "--out", out)
    assert printed.count("3 of 3 cells are finished") == 1
    assert "[1/2] seed-0: runs" in printed
    assert "[2/2] seed-2: runs" in printed
    assert "[1/1] seed-1: runs" in printed
    assert len((out / "sweep.csv").read_text().splitlines()) == 4
    for seed in range(3):
        seen = json.loads((out / f"seed-{seed}" / "environment.json").read_text())
        assert set(seen.values()) == {None}
