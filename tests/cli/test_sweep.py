"""`sslkit sweep`."""

from __future__ import annotations

import io
import json
import re
import subprocess
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from sslkit.analysis.sweep import run_cells as module
from sslkit.cli.main import OK, USER_ERROR
from sslkit.specs.load import load
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call, write
from tests.train import fake_cell


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Cells are stood in for by a small program."""
    monkeypatch.setattr(module, "COMMAND", fake_cell.COMMAND)


class InThisProcess:
    """A cell's process that is none: its command has run when it is there, and what it says is in a log of its own."""

    def __init__(self, command, **_):
        with redirect_stderr(io.StringIO()):
            train(load(Path(command[-1])), say=lambda _: None)

    def wait(self):
        return OK


@pytest.fixture
def spec(tmp_path):
    return write(tmp_path / "spec.yaml")


def test_a_grid_is_run_and_ends_in_a_table(spec, tmp_path, capsys):
    out, copy = tmp_path / "out", tmp_path / "table.md"
    words = ["sweep", spec, "optimizer.lr=0.25,0.5", "seed=0,1", "--out", out, "--table", copy]
    code, printed, err = call(capsys, *words)
    assert (code, err) == (OK, "")
    assert printed.splitlines()[0] == f"tiny-sweep: 4 cells in {out}"
    assert "tiny-sweep: mean ± deviation [95 % interval] over seeds" in printed
    assert re.search(r"^ +lr-0\.25 +2 +1 ± 0\.3536 \[.*\] +256 ", printed, re.MULTILINE)
    assert printed.endswith("4 of 4 cells are finished; written: sweep.json and sweep.csv\n")
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == [
        ".sweep", "lr-0.25__seed-0", "lr-0.25__seed-1", "lr-0.5__seed-0", "lr-0.5__seed-1",
    ]  # fmt: skip
    assert copy.read_text().startswith("| setting | seeds | loss |")
    code, printed, _ = call(capsys, *words)
    assert (code, printed.count("already finished")) == (OK, 4)


def test_without_out_the_folder_is_named_after_the_spec(spec, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "sweep", spec, "seed=3")[0] == OK
    assert (tmp_path / "runs" / "tiny-sweep" / "seed-3" / "summary.json").is_file()


def test_a_failing_cell_is_exit_code_2_with_the_list(spec, tmp_path, capsys):
    code, printed, err = call(capsys, "sweep", spec, "seed=13,0", "--out", tmp_path / "out")
    assert code == USER_ERROR
    assert err == "failed: seed-13: error: no luck\n"
    assert "1 of 2 cells are finished" in printed
    assert printed.endswith("the same command makes those that are not\n")
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["failed"] == {
        "seed-13": "error: no luck"
    }
    code, printed, _ = call(capsys, "sweep", spec, "seed=13,1", "--out", tmp_path / "two", "--stop-on-error")
    assert code == USER_ERROR
    assert not (tmp_path / "two" / "seed-1").exists()


def test_a_wrong_cell_stops_everything_before_it_begins(spec, tmp_path, capsys):
    code, printed, err = call(capsys, "sweep", spec, "seed=0,x", "--out", tmp_path / "out")
    assert (code, printed) == (USER_ERROR, "")
    assert err.splitlines() == [
        "error: 1 cell is wrong, so none was started:",
        "  seed: must be a whole number, found 'x' (str)",
        "    in seed-x",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed"], "an axis is written key.path=v1,v2"),
        ([], "there is nothing to sweep"),
        (["seed=0", "--index", "0"], "--index and --of go together"),
        (["seed=0", "--table", "table.xlsx"], "--table: table.xlsx must end in"),
        (["seed=0", "--set", "steps"], "an override is written key.path=value"),
        (["seed=0,1", "--set", "seed=5"], "--set seed: would undo the axis seed"),
        (["seed=0", "--set", "out=there"], "--set out: is the sweep's to set; leave it out, or choose"),
    ],
)
def test_what_makes_no_sense_is_refused(spec, tmp_path, capsys, words, message):
    code, printed, err = call(capsys, "sweep", spec, *words, "--out", tmp_path / "out")
    assert (code, printed) == (USER_ERROR, "")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_cells_can_be_listed_and_shared(spec, tmp_path, capsys):
    words = ["sweep", spec, "seed=0,1,2", "--out", tmp_path / "out"]
    assert call(capsys, *words, "--index", 1, "--of", 2)[1].startswith("tiny-sweep: 3 cells")
    printed = call(capsys, *words, "--list")[1]
    assert printed == "seed-0  to do\nseed-1  finished\nseed-2  to do\n"
    assert call(capsys, *words, "--list", "--index", 0, "--of", 2)[1] == "seed-0  to do\nseed-2  to do\n"


def test_a_share_does_not_promise_the_cells_of_others(spec, tmp_path, capsys):
    """The same command again would not make them."""
    words = ["sweep", spec, "seed=0,13,1", "--out", tmp_path / "out"]
    printed = call(capsys, *words, "--index", 0, "--of", 2)[1]
    assert printed.endswith("those that are not are of other shares, whose workers make them\n")
    printed = call(capsys, *words, "--index", 1, "--of", 2)[1]
    assert printed.endswith("the same command makes those that are not, as far as they are of its share\n")
    assert call(capsys, *words)[1].endswith("the same command makes those that are not\n")


def test_a_file_of_rows_with_changes_from_the_command_line(tmp_path, capsys):
    path = tmp_path / "rates.yaml"
    rows = {"low": {"optimizer.lr": 0.25}, "high": {"optimizer.lr": 0.5}}
    fields = {"base": "spec.yaml", "rows": rows, "axes": {"seed": [0, 1, 2]}, "out": str(tmp_path / "out")}
    path.write_text(yaml.safe_dump(fields))
    write(tmp_path / "spec.yaml")
    code, printed, err = call(capsys, "sweep", path, "seed=4", "--set", "batch_size=8")
    assert (code, err) == (OK, "")
    assert printed.startswith(f"rates: 2 cells in {tmp_path / 'out'}")
    for row, lr in (("low", 0.25), ("high", 0.5)):
        locked = yaml.safe_load((tmp_path / "out" / f"{row}__seed-4" / "spec.lock.yaml").read_text())["spec"]
        assert (locked["optimizer"]["lr"], locked["batch_size"], locked["seed"]) == (lr, 8, 4)
        assert locked["name"] == row


def test_cells_that_really_train_can_be_compared(tmp_path, capsys, monkeypatch):
    """Two seeds, which train in this process, and other commands on what they leave."""
    here = SimpleNamespace(Popen=InThisProcess, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(module, "subprocess", here)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(tiny.fields(steps=2, evaluate=[{"kind": "knn"}])))
    out = tmp_path / "out"
    code, printed, err = call(capsys, "sweep", path, "seed=0,1", "--out", out)
    assert (code, err) == (OK, "")
    assert "knn (knn@1), %" in printed
    runs = sorted(p for p in out.iterdir() if p.is_dir() and not p.name.startswith("."))
    code, compared, _ = call(capsys, "compare", *runs)
    assert code == OK
    assert re.search(r"1 +tiny-sweep +2 ", compared)
    data = json.loads((out / "sweep.json").read_text())
    accuracy = data["settings"][0]["metrics"]["eval/knn/accuracy"]
    found = [json.loads((run / "summary.json").read_text())["metrics"]["eval/knn/accuracy"] for run in runs]
    assert accuracy["values"] == found
    assert f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['std']:.2f}" in compared
