"""The table of a sweep: numbers as by hand, and files that other commands read."""

from __future__ import annotations

import csv
import json
import math
import statistics
from pathlib import Path

import pytest
import yaml
from scipy import stats

from sslkit.analysis.scaling.sweep_results import read_sweep
from sslkit.analysis.sweep import sweep_table
from sslkit.analysis.sweep.sweep_table import cells, export_table, table, write_table
from sslkit.errors import SpecError
from sslkit.specs.sweep import SweepSpec, grid
from sslkit.train.cost.tokens import encoded
from tests import tiny
from tests.evaluate.made_runs import evaluated, right
from tests.train import fake_cell

ACCURACIES = {
    ("low", 0): 0.5,
    ("low", 1): 0.6,
    ("low", 2): 0.55,
    ("high", 0): 0.75,
    ("high", 1): 0.8,
    ("high", 2): 0.7,
}
LR = {"low": 0.25, "high": 0.5}


def made(tmp_path, rows=None, **axes):
    rows = {name: {"optimizer.lr": lr} for name, lr in LR.items()} if rows is None else rows
    return grid(SweepSpec(name="mine", out=tmp_path / "out", base=tiny.fields(), rows=rows, axes=axes))


def leave(cell, accuracy=None, records=(), **metrics):
    """A finished run of `cell`, with an evaluation of that accuracy."""
    fake_cell.leave(cell.spec.model_dump(mode="json"))
    folder = cell.spec.run_dir
    if accuracy is not None:
        evaluated(folder, "knn", right(accuracy, cell.spec.seed), step=8, intervals={"accuracy": [0.1, 0.9]})
        metrics["eval/knn/accuracy"] = accuracy
    summary = json.loads((folder / "summary.json").read_text())
    summary["metrics"] |= metrics
    (folder / "summary.json").write_text(json.dumps(summary))
    if records:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in records))


@pytest.fixture
def whole(tmp_path):
    """Two settings of three seeds."""
    found = made(tmp_path, seed=(0, 1, 2))
    for cell in found.cells:
        leave(cell, ACCURACIES[cell.setting, cell.spec.seed])
    return found


def test_numbers_are_those_of_a_hand(whole):
    found = table(whole)
    assert [line.setting for line in found.lines] == ["low", "high"]
    assert found.missing == ()
    for line in found.lines:
        assert line.seeds == (0, 1, 2)
        values = [ACCURACIES[line.setting, seed] for seed in range(3)]
        assert line.values["eval/knn/accuracy"] == tuple(values)
        summary = line.summary("eval/knn/accuracy")
        assert summary is not None
        assert summary.mean == pytest.approx(sum(values) / 3)
        deviation = math.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2)
        assert summary.std == pytest.approx(deviation)
        reach = 4.302652729911275 * deviation / math.sqrt(3)  # t of 2 degrees of freedom at 97.5 %
        assert (summary.low, summary.high) == pytest.approx((summary.mean - reach, summary.mean + reach))
    assert stats.t.ppf(0.975, 2) == pytest.approx(4.302652729911275)


def test_the_printed_table_has_headlines_and_amounts(whole):
    head, low, high = cells(table(whole))
    assert head == ["setting", "seeds", "knn (knn@1), %", "images", "seconds", "tokens encoded"]
    assert low == ["low", "3", "55.00 ± 5.00 [42.58, 67.42]", "256", "3.0", "1,024"]
    assert high[2] == "75.00 ± 5.00 [62.58, 87.42]"
    assert table(whole).to_markdown().splitlines()[:3] == [
        "| setting | seeds | knn (knn@1), % | images | seconds | tokens encoded |",
        "| --- | --- | --- | --- | --- | --- |",
        "| low | 3 | 55.00 ± 5.00 [42.58, 67.42] | 256 | 3.0 | 1,024 |",
    ]


def test_compute_is_of_all_passes_in_tokens_encoded_once():
    """96 of the student with its backward, 96 of a teacher at a third; two backwards make 5/3 of the first."""
    student = {"net": "student", "guide": False, "for": ["a", "b"], "tokens_per_step": 96}
    teacher = {**student, "net": "teacher", "for": ["b"]}
    plan = {"terms": {"a": 0.75, "b": 1.0}, "cost": 1.0}
    assert encoded([student, teacher], plan) == pytest.approx(96 * 4 / 3)
    twice = {**plan, "cost": (5 / 3 + 1 / 3) / (4 / 3)}
    assert encoded([student, teacher], twice) == pytest.approx(96 * 2)
    assert (
        encoded([{**student, "for": ["a/x"]}, teacher], {"terms": {"a": 1.0, "b": 1 / 3}, "cost": 4 / 3})
        == 128
    )


def test_compute_follows_masks_that_change(tmp_path):
    """6 steps with 96 tokens and 2 with 160, where a pass with gradients is all there is."""
    (cell,) = made(tmp_path, {"row": {}}, seed=(0,)).cells
    leave(cell)
    path = cell.spec.run_dir / "spec.lock.yaml"
    lock = yaml.safe_load(path.read_text())
    stages = [{"step": 0, "tokens_per_step": 96}, {"step": 6, "tokens_per_step": 160}]
    lock["resolved"]["passes"] = [{**lock["resolved"]["passes"][0], "stages": stages}]
    path.write_text(yaml.safe_dump(lock))
    (line,) = table(made(tmp_path, {"row": {}}, seed=(0,))).lines
    assert line.values["tokens"] == line.values["compute"] == (6 * 96 + 2 * 160,)


def test_what_is_not_finished_is_missing_and_counts_for_nothing(tmp_path):
    found = made(tmp_path, seed=(0, 1))
    leave(found.cells[0], 0.5)
    fake_cell.leave(found.cells[1].spec.model_dump(mode="json"), finished=False)
    made_table = table(found, {"high__seed-0": "error: no luck"})
    assert made_table.missing == ("high__seed-0", "low__seed-1", "high__seed-1")
    assert made_table.failed == {"high__seed-0": "error: no luck"}
    assert [(line.setting, line.seeds) for line in made_table.lines] == [("low", (0,))]
    assert cells(made_table)[1][2] == "50.00", "one seed has no spread"


def test_no_finished_run_makes_an_empty_table(tmp_path):
    found = table(made(tmp_path, seed=(0,)))
    assert (found.lines, found.runs) == ((), ())
    assert cells(found) == [["setting", "seeds", "loss"]]
    write_table(found, tmp_path / "out")
    assert (tmp_path / "out" / "sweep.csv").read_text() == "\n"


def test_seeds_are_grouped_by_their_specs_however_they_were_named(tmp_path):
    """Rows that differ in nothing but the seed are one setting."""
    rows = {"first": {"seed": 4}, "second": {"seed": 1}, "third": {"seed": 1, "steps": 9}}
    found = made(tmp_path, rows)
    for cell in found.cells:
        leave(cell)
    assert [(line.setting, line.seeds) for line in table(found).lines] == [
        ("second", (1, 4)),
        ("third", (1,)),
    ]


def test_without_evaluators_the_loss_is_shown(tmp_path):
    found = made(tmp_path, seed=(0, 1))
    for cell in found.cells:
        leave(cell)
    head, low, _ = cells(table(found))
    assert head[:3] == ["setting", "seeds", "loss"]
    mean, std = (1.25 + 0.75) / 2, statistics.stdev([1.25, 0.75])
    assert low[2].startswith(f"{mean:.4g} ± {std:.4g} [")


def test_metrics_that_a_run_lacks_are_left_out(tmp_path):
    found = made(tmp_path, {"row": {}}, seed=(0, 1))
    leave(found.cells[0], 0.5, extra=1.0)
    leave(found.cells[1], None, extra=math.nan)
    (line,) = table(found).lines
    assert "eval/knn/accuracy" not in line.values
    assert "extra" not in line.values, "what is not finite has no mean"
    assert line.summary("extra") is None
    assert cells(table(found))[1][2] == "-"


def test_an_evaluation_that_is_no_accuracy_is_shown_as_it_is(tmp_path):
    (cell,) = made(tmp_path, {"row": {}}, seed=(0,)).cells
    leave(cell, **{"eval/geometry/rank": 12.345678})
    evaluated(cell.spec.run_dir, "geometry", None, step=8, metrics={"rank": 12.345678}, protocol="geometry@1")
    head, row = cells(table(made(tmp_path, {"row": {}}, seed=(0,))))
    assert (head[2], row[2]) == ("geometry (geometry@1)", "12.35")


def test_hybrids_have_their_conflict_over_all_measured_steps(tmp_path):
    found = made(tmp_path, seed=(0,))
    key = "balance/a_b/cosine"
    steps = [
        {"step": 1, "loss": 1.0},
        *({"step": i, key: c} for i, c in enumerate([0.5, -0.5, 0.25, None], 2)),
    ]
    leave(found.cells[0], 0.5, steps)
    leave(found.cells[1], 0.5)
    low, high = table(found).lines
    assert low.values["conflict"] == (pytest.approx(1 / 3),)
    assert low.values["cosine"] == (pytest.approx(0.25 / 3),)
    assert "conflict" not in high.values
    head, first, second = cells(table(found))
    assert head[-2:] == ["steps in conflict", "cosine"]
    assert (first[-2:], second[-2:]) == (["33 %", "0.083"], ["-", "-"])


def test_with_several_pairs_a_step_is_in_conflict_if_one_is(tmp_path):
    found = made(tmp_path, {"row": {}}, seed=(0,))
    records = [
        {"step": 1, "balance/a_b/cosine": -0.1, "balance/a_c/cosine": 0.3},
        {"step": 2, "balance/a_b/cosine": 0.4},
    ]
    leave(found.cells[0], 0.5, records)
    (line,) = table(found).lines
    assert line.values["conflict"] == (0.5,)
    assert line.values["cosine"] == (pytest.approx(0.2),)


def test_the_csv_is_one_that_scaling_reads(whole):
    write_table(table(whole), whole.folder)
    path = whole.folder / "sweep.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["cell"] for row in rows] == [cell.name for cell in whole.cells]
    assert list(rows[0])[:5] == ["cell", "setting", "seed", "row", "parameters"]
    read = read_sweep([path])
    folders = read_sweep([cell.spec.run_dir for cell in whole.cells])
    for name in ("parameters", "images", "tokens", "flops", "seconds", "eval/knn/accuracy"):
        assert read.column(name) == folders.column(name), name
    assert read.column("compute") == [8 * 96 * 4 / 3] * 6
    assert read.column("seed") == [0, 0, 1, 1, 2, 2]


def test_axes_have_columns_of_their_own(tmp_path):
    found = made(tmp_path, {}, **{"optimizer.lr": (0.25, 0.5), "seed": (7,)})
    for cell in found.cells:
        leave(cell)
    rows = list(csv.DictReader(table(found).to_csv().splitlines()))
    assert [(row["setting"], row["optimizer.lr"], row["seed"]) for row in rows] == [
        ("lr-0.25", "0.25", "7"),
        ("lr-0.5", "0.5", "7"),
    ]


def test_the_json_holds_everything(whole):
    found = table(whole)
    write_table(found, whole.folder)
    data = json.loads((whole.folder / "sweep.json").read_text())
    assert data == found.to_json()
    assert (data["name"], data["finished"], data["missing"], data["failed"]) == ("mine", 6, [], {})
    assert data["headlines"] == [
        {"key": "eval/knn/accuracy", "title": "knn (knn@1), %", "share": True, "better": "higher"}
    ]
    low = data["settings"][0]
    assert (low["setting"], low["seeds"]) == ("low", [0, 1, 2])
    assert low["metrics"]["eval/knn/accuracy"]["values"] == [0.5, 0.6, 0.55]
    assert low["metrics"]["eval/knn/accuracy"]["mean"] == pytest.approx(0.55)
    assert [Path(run).name for run in low["runs"]] == [f"low__seed-{i}" for i in range(3)]


@pytest.mark.parametrize("name", ["table.csv", "table.json", "new/table.md"])
def test_a_copy_may_be_written_in_any_format(whole, tmp_path, name):
    found = table(whole)
    export_table(found, tmp_path / name)
    text = (tmp_path / name).read_text()
    expected = {"csv": found.to_csv(), "md": found.to_markdown()}.get(name.rsplit(".")[-1])
    assert text == expected if expected else json.loads(text) == found.to_json()


def test_other_formats_are_refused(whole, tmp_path):
    with pytest.raises(SpecError, match=r"must end in \.csv, \.json or \.md"):
        export_table(table(whole), tmp_path / "table.xlsx")
    assert sweep_table.CSV == "sweep.csv"
