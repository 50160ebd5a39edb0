"""`sslkit compare`."""

from __future__ import annotations

import json
import re

import pytest

from sslkit.cli.main import OK, USER_ERROR
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call
from tests.evaluate.made_runs import evaluated, right, run_folder, worsened
from tests.train.test_trainer import silent

BASE = right(0.8)


def setting(root, name, by, seed=0):
    """A run that is wrong on `by` further images."""
    path = run_folder(root / f"{name}-{seed}", seed, name=name, objective={"kind": name})
    return evaluated(path, "knn", worsened(right(0.8, seed), by))


@pytest.fixture
def three(tmp_path):
    """Runs of three settings, the second hardly worse than the first."""
    return [setting(tmp_path, name, by) for name, by in (("mae", 0), ("simmim", 2), ("byol", 40))]


def row(printed: str, *words: str, after: str = "Scores, ") -> str:
    """The first line behind the words `after` that holds all of `words`, with single spaces."""
    lines = (" ".join(line.split()) for line in printed.partition(after)[2].splitlines())
    return next(line for line in lines if all(word in line for word in words))


def test_scores_tests_and_verdicts_are_printed(three, capsys):
    code, printed, err = call(capsys, "compare", *three)
    assert (code, err) == (OK, "")
    assert printed.index("Budgets") < printed.index("Scores")
    assert row(printed, "setting", after="Budgets") == "setting steps"
    assert row(printed, "1 mae", after="Budgets") == "1 mae 10"
    assert "Budgets differ" not in printed
    assert row(printed, "setting", "runs") == "setting runs knn (knn@1)"
    assert row(printed, "1", "mae") == "1 mae 1 80.00 [75.80, 83.63]"
    assert row(printed, "objective.kind") == "objective.kind mae simmim byol"
    assert row(printed, "row less column") == "knn, accuracy: row less column"
    assert row(printed, "2 simmim", "p =") == "2 simmim -0.50, p = 0.25 +9.50, p < 0.001 *"
    assert "  mae and simmim: no significant difference\n" in printed
    assert re.search(
        r"^  mae better than byol by 10.00 points \[7.\d\d, 1\d.\d\d\], p < 0.001$", printed, re.M
    )
    assert "adjusted for all 3 comparisons (Holm)." in printed
    assert "the tests tell networks apart, not methods" in printed


def test_unequal_budgets_come_first_and_are_said(tmp_path, capsys):
    """Neither dashes of fields that one setting lacks nor a long list hide how long runs trained."""
    long, short = ({f"field{i}": i for i in range(25)}, {})
    runs = [
        evaluated(
            run_folder(tmp_path / name, name=name, batch_size=32, **fields), "knn", right(0.8), step=step
        )
        for name, fields, step in (
            ("long", {"epochs": 50, "steps": None, "objective": long}, 600),
            ("short", {"epochs": None, "steps": 36, "objective": short}, 36),
        )
    ]
    printed = call(capsys, "compare", *runs)[1]
    assert row(printed, "1 long", after="Budgets") == "1 long 600 19,200"
    assert row(printed, "2 short", after="Budgets") == "2 short 36 1,152"
    assert (
        "Budgets differ, by these factors: steps by 16.7, images by 16.7 (steps: long 600, short 36)."
        in printed
    )
    assert printed.index("Budgets differ") < printed.index("Scores")
    fields = [line.split()[0] for line in printed.split("Fields that differ")[1].splitlines()[4:8]]
    assert fields[:2] == ["epochs", "steps"]


def test_several_seeds(tmp_path, capsys):
    runs = [setting(tmp_path, name, by, s) for name, by in (("mae", 0), ("byol", 40)) for s in range(3)]
    runs[1] = evaluated(runs[1], "knn", worsened(right(0.8, 1), 3))
    runs[4] = evaluated(runs[4], "knn", worsened(right(0.8, 4), 50))
    printed = call(capsys, "compare", *runs)[1]
    assert row(printed, "1 mae") == "1 mae 3 79.75 ± 0.43 [78.67, 80.83]"
    assert "Tests: Welch's t.\n" in printed
    assert "tell networks apart" not in printed
    assert "Holm" not in printed, "one comparison needs no correction"
    assert "Tests: paired t.\n" in call(capsys, "compare", *runs, "--pair-seeds")[1]


def test_one_run_has_its_interval_and_nothing_to_test(three, capsys):
    printed = call(capsys, "compare", three[0])[1]
    assert row(printed, "1 mae") == "1 mae 1 80.00 [75.80, 83.63]"
    assert "Tests" not in printed
    assert "differ" not in printed


def test_what_has_no_predictions_is_said_once_and_has_no_matrix(tmp_path, capsys):
    runs = [
        evaluated(run_folder(tmp_path / name, lr=name), "geometry", None, metrics={"rank": 1.5})
        for name in "abc"
    ]
    printed = call(capsys, "compare", *runs)[1]
    assert printed.count("geometry: not tested: one run each, and no predictions behind the metric") == 1
    assert "row less column" not in printed
    assert row(printed, "1 a") == "1 a 1 1.5"


def test_several_data_sets_have_ranks(three, capsys):
    for i, run in enumerate(three):
        evaluated(run, "digits", worsened(BASE, 40 * i))
    printed = call(capsys, "compare", *three)[1]
    title = row(printed, "data sets")
    assert title.startswith("knn@1 on 2 data sets (digits, knn): wins-ties-losses; Friedman p = 0.14, ")
    assert title.endswith("no significant difference"), "two data sets show nothing"
    assert row(printed, "1 mae 1.00") == "1 mae 1.00 1-1-0 2-0-0"
    for i, run in enumerate(three):
        for more in range(8):
            evaluated(run, f"more{more}", worsened(BASE, 40 * i))
    assert re.search(r"Friedman p < 0.001, ranks 1\.0\d apart differ", call(capsys, "compare", *three)[1])


def test_json_holds_everything(three, tmp_path, capsys):
    out = tmp_path / "new" / "comparison.json"
    code, printed, _ = call(capsys, "compare", *three, "--level", "0.9", "--json", out)
    assert code == OK
    assert printed.endswith(f"written: {out}\n")
    found = json.loads(out.read_text())
    assert found["level"] == 0.9
    assert [setting["name"] for setting in found["settings"]] == ["mae", "simmim", "byol"]
    assert len(found["pairs"]) == 3
    assert found["pairs"][0]["verdict"] == "no significant difference"


def test_evaluations_and_steps_can_be_chosen(three, capsys):
    for run in three:
        evaluated(run, "linear", BASE)
        evaluated(run, "knn", BASE, step=20)
    evaluated(three[0], "digits", BASE)
    printed = call(capsys, "compare", *three, "--evaluator", "linear")[1]
    assert row(printed, "setting", "runs") == "setting runs linear (knn@1)"
    assert "Left out, as only some runs have them: digits." in call(capsys, "compare", *three)[1]
    assert row(call(capsys, "compare", *three, "--step", 20)[1], "3 byol").startswith("3 byol 1 80.00")
    assert row(call(capsys, "compare", *three, "--step", 10)[1], "3 byol").startswith("3 byol 1 70.00")


def test_long_lists_of_fields_are_cut(tmp_path, capsys):
    runs = [
        evaluated(run_folder(tmp_path / name, **{f"f{i:02}": name for i in range(30)}), "knn", BASE)
        for name in "ab"
    ]
    printed = call(capsys, "compare", *runs)[1]
    assert "10 more fields differ; --json writes all." in printed
    assert "f19" in printed
    assert "f20" not in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--evaluator", "dense"], "error: 'dense' was not evaluated in"),
        (["--step", "7"], "no evaluation of step 7. Known: 10"),
        (["--level", "95"], "error: level: must lie between 0 and 1"),
        (["--pair-seeds"], "error: --pair-seeds: all settings need the same seeds, at least two"),
    ],
)
def test_what_there_is_not_is_refused(three, capsys, words, message):
    code, printed, err = call(capsys, "compare", *three, *words)
    assert (code, printed) == (USER_ERROR, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_the_incomparable_is_refused_with_the_reason(three, tmp_path, capsys):
    other = evaluated(run_folder(tmp_path / "other"), "knn", BASE, protocol="knn@1(k=5)")
    code, printed, err = call(capsys, "compare", three[0], other)
    assert (code, printed) == (USER_ERROR, "")
    assert "cannot be compared, for they differ in the protocol (knn@1, knn@1(k=5))." in err


def test_runs_that_were_trained(tmp_path, capsys):
    """What training leaves is what comparing reads."""
    evaluate = [{"kind": "knn"}]
    runs = [tmp_path / name for name in ("low-0", "low-1", "high-0")]
    for run, (lr, seed) in zip(runs, ((0.001, 0), (0.001, 1), (0.01, 0)), strict=True):
        fields = {"evaluate": evaluate, "seed": seed, "optimizer": {"lr": lr}, "steps": 2}
        summary = train(tiny.spec(run, **fields), silent)
    code, printed, err = call(capsys, "compare", *runs)
    assert (code, err) == (OK, "")
    assert row(printed, "optimizer.lr") == "optimizer.lr 0.001 0.01"
    accuracy = 100 * summary["metrics"]["eval/knn/accuracy"]
    assert row(printed, "2 high-0").startswith(f"2 high-0 1 {accuracy:.2f} [")
    assert row(printed, "1 low").startswith("1 low 2 ")
    budgets = row(printed, "setting", after="Budgets"), row(printed, "1 low", after="Budgets")
    assert budgets[0] == "setting steps epochs images tokens time", "FLOPs were not counted"
    assert budgets[1].startswith("1 low 2 0.04545 64 ")
    assert "Tests: pooled t." in printed
