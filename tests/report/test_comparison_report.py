"""The page of several runs."""

from __future__ import annotations

import pytest

from sslkit.analysis.compare.compare_runs import compare
from sslkit.report.comparison_report import SHOWN, report_comparison
from tests.evaluate.made_runs import evaluated, right, run_folder, worsened
from tests.report.parsed import Page, require_self_contained


def setting(root, name, by, seed=0, **fields):
    """A run that is wrong on `by` further images."""
    path = run_folder(root / f"{name}-{seed}", seed, name=name, objective={"kind": name}, **fields)
    return evaluated(path, "knn", worsened(right(0.8, seed), by))


def page(found, tmp_path) -> Page:
    made = Page(report_comparison(found, tmp_path / "new" / "page.html").read_text(encoding="utf-8"))
    require_self_contained(made)
    return made


@pytest.fixture
def three(tmp_path):
    return [setting(tmp_path, name, by) for name, by in (("mae", 0), ("simmim", 2), ("byol", 40))]


def test_scores_and_verdicts_are_those_of_the_comparison(three, tmp_path):
    found = compare(three)
    made = page(found, tmp_path)
    assert made.sections == ["budgets", "scores", "significance", "protocols", "differing"]
    assert made.tables["What each setting was given until it was measured"][1] == ["mae", "10"]
    assert "The budgets are the same." in made.text
    heading, first, *_ = made.tables["Scores with their intervals"]
    assert heading == ["Setting", "Runs", "knn accuracy"]
    score = found.score("mae", "knn")
    assert first == ["mae", "1", f"80.00 [{100 * score.low:.2f}, {100 * score.high:.2f}]"]
    for pair in found.pairs:
        assert pair.verdict in made.text
    assert made.text.count("knn: mae better than byol") == 2, "at the top and below the matrix"
    assert "knn: mae and simmim: no significant difference (p = 0.25)" in made.text
    assert "the tests tell networks apart, not methods" in made.text
    assert "p-values are adjusted for all 3 comparisons (Holm)." in made.text


def test_where_lower_is_better_the_lower_setting_is(tmp_path):
    runs = []
    for name, losses in (("mae", (0.30, 0.31, 0.29)), ("simmim", (0.20, 0.21, 0.19))):
        for seed, loss in enumerate(losses):
            path = run_folder(tmp_path / f"{name}-{seed}", seed, name=name, objective={"kind": name})
            better = {"loss": "lower"}
            runs.append(
                evaluated(path, "fill", None, metrics={"loss": loss}, better=better, protocol="fill@1")
            )
    made = page(compare(runs), tmp_path)
    assert "fill: simmim better than mae by 0.1 [" in made.text
    assert "] (lower is better), p < 0.001" in made.text
    rows = made.tables["fill loss (lower is better): row less column"]
    assert rows[1][2].startswith("+0.1p < 0.001, worse")
    assert rows[2][1].startswith("-0.1p < 0.001, better")


def test_unequal_budgets_are_said_at_the_top(tmp_path):
    runs = [
        evaluated(
            run_folder(tmp_path / name, name=name, batch_size=32, steps=step), "knn", right(0.8, i), step=step
        )
        for i, (name, step) in enumerate((("long", 600), ("short", 36)))
    ]
    made = page(compare(runs), tmp_path)
    assert made.text.count("Budgets differ, by these factors: steps by 16.7, images by 16.7") == 2
    assert made.tables["What each setting was given until it was measured"] == [
        ["Setting", "steps", "images"], ["long", "600", "19,200"], ["short", "36", "1,152"],
    ]  # fmt: skip


def test_the_matrix_counts_from_the_row(three, tmp_path):
    rows = page(compare(three), tmp_path).tables["knn accuracy: row less column, in points"]
    cells = {
        (row[0], column): cell for row in rows[1:] for column, cell in zip(rows[0][1:], row[1:], strict=True)
    }
    assert cells["mae", "mae"] == "–"
    assert cells["mae", "byol"].startswith("+10.00p < 0.001, better")
    assert cells["byol", "mae"].startswith("-10.00p < 0.001, worse")
    assert cells["mae", "simmim"] == "+0.50p = 0.25, no significant difference"


def test_no_difference_is_said_at_the_top(tmp_path):
    runs = [setting(tmp_path, name, 0) for name in ("mae", "simmim")]
    made = page(compare(runs), tmp_path)
    assert "Comparison Dark mae · simmim No significant difference between any two settings." in made.text


def test_fields_that_differ(tmp_path):
    extra = {f"field{i}": i for i in range(SHOWN + 4)}
    runs = [setting(tmp_path, "mae", 0, **extra), setting(tmp_path, "byol", 9)]
    tables = page(compare(runs), tmp_path).tables
    assert tables["Fields of the spec that are not the same"][1:3] == [
        ["objective.kind", "mae", "byol"],
        ["field0", "0", "-"],
    ], "what only one setting has comes last"
    assert len(tables["Fields of the spec that are not the same"]) == 1 + SHOWN
    assert len(tables["Further fields"]) == 1 + len(extra) + 1 - SHOWN
    assert {row[2] for row in tables["Further fields"][1:]} == {"-"}


def test_several_seeds(tmp_path):
    runs = [setting(tmp_path, n, by, s) for n, by in (("mae", 0), ("byol", 40)) for s in range(3)]
    runs[1] = evaluated(runs[1], "knn", worsened(right(0.8, 1), 3))
    runs[4] = evaluated(runs[4], "knn", worsened(right(0.8, 4), 50))
    made = page(compare(runs), tmp_path)
    assert made.tables["Scores with their intervals"][1][:2] == ["mae", "3"]
    assert "Tests: Welch's t." in made.text
    assert "not methods" not in made.text


def test_what_cannot_be_tested_is_said_once(tmp_path):
    names = ("mae", "simmim", "byol")
    runs = [
        evaluated(run_folder(tmp_path / name, name=name, objective={"kind": name}), "geometry", None,
                  protocol="geometry@1", metrics={"rankme": 5.0 + i}, tables={"spectrum": [3.0, 2.0, 1.0]})
        for i, name in enumerate(names)
    ]  # fmt: skip
    made = page(compare(runs), tmp_path)
    assert made.text.count("geometry: not tested: one run each") == 1
    assert made.tables["Geometry of the features"] == [["Metric", *names], ["rankme", "5", "6", "7"]]
    assert "knn" not in made.sections


def test_two_data_sets(three, tmp_path):
    for run, by in zip(three, (3, 0, 30), strict=True):
        data = {s: {"fingerprint": f"other-{s}", "images": 400} for s in ("train", "test")}
        evaluated(run, "second", worsened(right(0.7), by), data=data)
    made = page(compare(three), tmp_path)
    assert made.tables["Fields of the spec that are not the same"][1] == [
        "objective.kind",
        "mae",
        "simmim",
        "byol",
    ]
    assert "datasets" in made.sections
    heading, *rows = made.tables["knn@1 on knn, second: wins-ties-losses"]
    assert heading == ["", "Average rank", "mae", "simmim", "byol"]
    assert [row[1] for row in rows] == ["1.50", "1.50", "3.00"]
    assert rows[0][4] == "2-0-0"
    assert "Friedman p" in made.text


def test_one_run_alone(tmp_path):
    made = page(compare([setting(tmp_path, "mae", 0)]), tmp_path)
    assert made.sections == ["budgets", "scores", "protocols"]
    assert "udgets are the same" not in made.text
    assert "Significance: for two settings or more" in made.left_out()


def test_curves_and_pictures_of_real_runs(run_dir, tmp_path):
    found = compare([run_dir]).settings
    assert found[0].name == "tiny"
    made = page(compare([run_dir]), tmp_path)
    assert {"training", "geometry", "reconstructions", "protocols"} <= set(made.sections)
