"""What is read of run folders and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sslkit.analysis.scaling.sweep_results import Row, Sweep, read_run, read_sweep
from sslkit.errors import DataError, SpecError
from sslkit.runs import checkpoint, lock
from sslkit.train.launch import train
from tests import tiny
from tests.analysis.scaling.runs import PASS, write_csv, write_run
from tests.damage import damaged_bytes, damaged_json, read_or_refused
from tests.train.test_trainer import silent

ESTIMATED = "FLOPs are not recorded: taken as 6 per parameter and token, heads and decoders left out"


def test_a_run_folder(tmp_path):
    row = read_run(write_run(tmp_path / "a", size=1000, step=50, batch=32))
    assert row.name == str(tmp_path / "a")
    assert row.values == {
        "parameters": 1000,
        "images": 50 * 32,
        "tokens": 50 * 96,
        "flops": 6 * 1000 * 50 * 96,
        "seconds": 12.5,
        "loss": 1.5,
    }
    assert row.notes == (ESTIMATED,)


def test_a_run_that_was_trained(tmp_path):
    """The files are those of a real run; counts are those of its spec."""
    run = tiny.spec(tmp_path / "run")
    said = train(run, silent)
    row = read_run(tmp_path / "run")
    assert row.values["images"] == 8 * 32
    assert row.values["tokens"] == 8 * 32 * (2 + 1), "two visible patches and the class token"
    assert row.values["parameters"] == lock.read_lock(tmp_path / "run")["resolved"]["parameters"]["student"]
    assert row.values["loss"] == said["metrics"]["loss"]
    assert row.values["seconds"] == said["seconds"]


def test_the_names_of_files_are_those_of_the_trainer():
    from sslkit.analysis.scaling import sweep_results

    assert sweep_results.LOCK == lock.LOCK
    assert checkpoint.FOLDER


def test_recorded_flops_are_taken(tmp_path):
    row = read_run(write_run(tmp_path / "a", flops=1.5e15))
    assert row.values["flops"] == 1.5e15
    assert row.notes == ()


def test_passes_without_gradients_count_a_third(tmp_path):
    passes = [
        PASS,
        {"net": "student", "guide": True, "tokens_per_step": 30, "stages": []},
        {"net": "teacher", "guide": False, "tokens_per_step": 60, "stages": []},
    ]
    row = read_run(write_run(tmp_path / "a", size=10, step=2, passes=passes))
    assert row.values["tokens"] == 2 * 96
    assert row.values["flops"] == 10 * 2 * (6 * 96 + 2 * 30 + 2 * 60)


@pytest.mark.parametrize(("step", "tokens"), [(5, 50), (10, 100), (12, 140), (30, 100 + 10 * 20 + 10 * 30)])
def test_tokens_of_a_mask_that_changes_are_counted_stage_by_stage(tmp_path, step, tokens):
    stages = [{"step": at, "tokens_per_step": count} for at, count in ((0, 10), (10, 20), (20, 30))]
    passes = [{**PASS, "tokens_per_step": 10, "stages": stages}]
    assert read_run(write_run(tmp_path / "a", step=step, passes=passes)).values["tokens"] == tokens


def test_a_run_that_was_stopped_counts_with_a_note(tmp_path):
    row = read_run(write_run(tmp_path / "a", step=1234, finished=False))
    assert row.notes[0] == f"{tmp_path / 'a'} was stopped at step 1,234; it counts with what it came to"


def test_evaluations_after_the_run_are_read(tmp_path):
    run = write_run(tmp_path / "a", step=50, metrics={"loss": 1.5, "eval/knn/accuracy": 0.5})
    for step, accuracy in ((40, 0.1), (50, 0.7)):
        folder = run / "evaluations" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        for label in ("knn", "linear"):
            text = json.dumps({"metrics": {"accuracy": accuracy}})
            (folder / f"{label}.json").write_text(text, encoding="utf-8")
    values = read_run(run).values
    assert values["eval/linear/accuracy"] == 0.7
    assert values["eval/knn/accuracy"] == 0.5, "what the run itself measured comes first"


def test_metrics_that_are_no_numbers_are_left_out(tmp_path):
    values = read_run(
        write_run(tmp_path / "a", metrics={"loss": None, "name": "x", "ok": True, "a": 2})
    ).values
    assert values["a"] == 2
    assert not {"loss", "name", "ok"} & values.keys()


@pytest.mark.parametrize(
    "text", ["\ufeffrun,parameters, loss\na,10,1.5\nb,20,\n", "run,parameters,loss\r\na,10,1.5\r\nb,20,x\r\n"]
)
def test_a_csv_table(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8", newline="")
    sweep_results = read_sweep([path])
    assert [row.name for row in sweep_results.rows] == [f"{path}, row 1", f"{path}, row 2"]
    assert sweep_results.column("parameters") == [10, 20]
    assert sweep_results.rows[0].values == {"parameters": 10, "loss": 1.5}
    assert not sweep_results.has("loss")
    with pytest.raises(SpecError) as caught:
        sweep_results.column("loss")
    assert str(caught.value) == f"{path}, row 2: has no 'loss'. It has parameters"


@pytest.mark.parametrize(
    "data",
    [
        [{"parameters": 10, "loss": 1.5, "name": "a"}, {"parameters": 20, "loss": 1.25}],
        {"parameters": [10, 20], "loss": [1.5, 1.25], "name": ["a", "b"]},
    ],
    ids=["rows", "columns"],
)
def test_a_json_table(tmp_path, data):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    sweep_results = read_sweep([path])
    assert (sweep_results.column("parameters"), sweep_results.column("loss")) == ([10, 20], [1.5, 1.25])


def test_flops_of_a_table(tmp_path):
    base = {"parameters": [10, 20], "images": [100, 100]}
    given = read_sweep([write_csv(tmp_path / "a.csv", **base, flops=[7, 8])])
    assert (given.column("flops"), given.notes) == ([7, 8], [])
    images = read_sweep([write_csv(tmp_path / "b.csv", **base)])
    assert images.column("flops") == [6000, 12000]
    assert images.notes == [f"{tmp_path / 'b.csv'} has no column flops: taken as 6 per parameter and image"]
    tokens = read_sweep([write_csv(tmp_path / "c.csv", **base, tokens=[500, 500])])
    assert tokens.column("flops") == [30000, 60000]
    assert tokens.notes == [f"{tmp_path / 'c.csv'} has no column flops: taken as 6 per parameter and token"]
    assert not read_sweep([write_csv(tmp_path / "d.csv", parameters=[1])]).has("flops")


def test_runs_and_tables_mix(tmp_path):
    runs = [write_run(tmp_path / name, size=size) for name, size in (("a", 10), ("b", 20))]
    table = write_csv(tmp_path / "t.csv", parameters=[30], loss=[1.0])
    sweep_results = read_sweep([runs[0], table, runs[1]])
    assert sweep_results.column("parameters") == [10, 30, 20]
    assert sweep_results.notes == [ESTIMATED], "each sentence once"


def test_a_row_of_nothing():
    with pytest.raises(SpecError) as caught:
        Sweep((Row("a", {}),)).column("loss")
    assert str(caught.value) == "a: has no 'loss'. It has nothing"


TABLE = "t.json: a table is a list of objects, one a run, or an object of columns"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.txt", "a", "t.txt: is no run folder and no table; tables end in .csv or .json"),
        ("t.csv", None, "t.csv: does not exist; give run folders, or tables in .csv or .json"),
        ("t.csv", "", "t.csv: the table has no rows"),
        ("t.csv", "a,b\n", "t.csv: the table has no rows"),
        ("t.json", "[]", "t.json: the table has no rows"),
        (
            "t.json",
            "{",
            "t.json: is not JSON: Expecting property name enclosed in double quotes at line 1, column 2; "
            "write the table anew",
        ),
        (
            "t.json",
            "3",
            f"{TABLE}, found 3; write the table anew",
        ),
        (
            "t.json",
            "[1]",
            f"{TABLE}, found [1]; write the table anew",
        ),
        (
            "t.json",
            '{"a": 1}',
            f"{TABLE}, found {{'a': 1}}; write the table anew",
        ),
        ("t.json", '{"a": [1], "b": [1, 2]}', "t.json: its columns differ in length: 1, 2"),
    ],
)
def test_wrong_tables(tmp_path, monkeypatch, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        read_sweep([Path(name)])
    assert str(caught.value) == message


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"t\.csv: is damaged or no text: byte 0 is not UTF-8"):
        read_sweep([tmp_path / "t.csv"])


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(DataError) as caught:
        read_sweep([tmp_path])
    assert str(caught.value) == f"{tmp_path / 'spec.lock.yaml'}: does not exist: the folder holds no run"


def test_a_run_that_has_not_ended(tmp_path):
    run = write_run(tmp_path / "a")
    (run / "summary.json").unlink()
    with pytest.raises(DataError) as caught:
        read_sweep([run])
    assert str(caught.value) == (
        f"{run / 'summary.json'}: does not exist: the run has not ended; `sslkit resume {run}` ends it"
    )


@pytest.mark.parametrize("missing", ["step", "metrics", "finished", "seconds"])
def test_a_damaged_summary(tmp_path, missing):
    run = write_run(tmp_path / "a")
    said = json.loads((run / "summary.json").read_text())
    del said[missing]
    (run / "summary.json").write_text(json.dumps(said))
    with pytest.raises(DataError) as caught:
        read_run(run)
    assert str(caught.value) == f"{run}: summary.json or spec.lock.yaml is damaged: no '{missing}'"


def test_tables_with_damage_are_read_or_refused(tmp_path):
    path, rows = tmp_path / "t.json", [{"parameters": 10, "loss": 1.5}, {"parameters": 20, "loss": 1.25}]
    columns = {"parameters": [10, 20], "loss": [1.5, 1.25]}
    refused = 0
    for value in (rows, columns):
        for damage in damaged_json(value, seed=1, tries=90):
            path.write_bytes(damage.data)
            refused += isinstance(read_or_refused(lambda: read_sweep([path])), str)
    assert refused > 60
    path = tmp_path / "t.csv"
    for damage in damaged_bytes(b"parameters,loss\n10,1.5\n20,1.25\n", seed=2, tries=90):
        path.write_bytes(damage.data)
        read_or_refused(lambda: read_sweep([path]))


def test_numbers_past_any_sense_are_no_numbers(tmp_path):
    (tmp_path / "t.json").write_text('[{"a": 1%s, "b": 2}]' % ("0" * 400))
    assert read_sweep([tmp_path / "t.json"]).rows[0].values == {"b": 2.0}
