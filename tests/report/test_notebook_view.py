"""Runs and results as notebooks show them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import numpy as np
import pytest

from sslkit import Result, Run
from sslkit.report.notebook_view import HEIGHT, POINTS, WIDTH, result_html, run_html
from tests.tiny import fields

SUMMARY: dict[str, Any] = {
    "name": "mine",
    "finished": True,
    "step": 1200,
    "epoch": 2.5,
    "seconds": 61.25,
    "metrics": {
        "loss": 0.5,
        "lr": 1e-3,
        "eval/knn/accuracy": 0.75,
        "eval/knn/top5": 0.9,
        "eval/rank/rank": 31.0,
    },
    "best": {"eval/knn/accuracy": {"value": 0.8125, "step": 1000, "better": "higher"}},
    "baselines": {"baseline/raw_pixels/knn/accuracy": 0.25, "baseline/untrained/knn/accuracy": 0.375},
    "paths": {"run": "runs/mine"},
}
RECORDS = [{"step": step, "loss": 1 / step} for step in range(1, 6)]


def tree(html: str) -> Tree.Element:
    """The elements, which must be well-formed."""
    return Tree.fromstring(f"<body>{html}</body>")  # our own markup


def rows(html: str) -> list[list[str]]:
    """The cells of every row of the tables."""
    return [["".join(cell.itertext()) for cell in row] for row in tree(html).iter("tr")]


def run(**changes: Any) -> Run:
    return Run(**fields(**changes))


def test_a_run_shows_its_parts() -> None:
    shown = dict(rows(run_html(run().spec)))  # type: ignore[arg-type]  # rows of two cells
    assert shown["data"] == "digits"
    assert shown["views.global"].startswith("ViewSpec(augment=[random_resized_crop(scale=[0.5, 1.0]), flip]")
    assert shown["backbone"] == "vit(depth=2, heads=2, name=vit_tiny_patch16_224, patch=4, width=16)"
    assert shown["objective"].startswith("mae(decoder=")
    assert shown["optimizer"] == "OptimizerSpec(lr=0.01)"
    assert shown["length"] == "8 steps of batches of 32"
    assert shown["folder"] == "runs/tiny"
    assert list(shown) == ["data", "views.global", "backbone", "objective", "optimizer", "length", "folder"]


def test_nets_terms_and_evaluations_have_rows_of_their_own() -> None:
    mae = fields()["objective"]
    spec = run(
        objective=None,
        objectives={"one": mae, "two": {**mae, "weight": 0.5}},
        nets={"ema": {"momentum": 0.9}},
        readout={"net": "ema"},
        evaluate=[{"kind": "knn", "k": 5}, {"kind": "knn", "name": "near", "k": 1}],
    ).spec
    names = [row[0] for row in rows(run_html(spec))]
    assert {"objectives.one", "objectives.two", "nets.ema", "evaluate.knn", "evaluate.near"} <= set(names)
    assert "objective" not in names


def test_epochs_are_said() -> None:
    base = fields(epochs=1200)
    del base["steps"]
    assert ["length", "1,200 epochs of batches of 32"] in rows(run_html(Run(**base).spec))


def test_a_run_of_python_alone_says_so() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    assert "resumed in Python alone, as it has data.train from there" in run_html(run(data=images).spec)
    assert "Python alone" not in run_html(run().spec)


def test_a_result_shows_scores_beside_their_baselines() -> None:
    head, *body = rows(result_html(SUMMARY, RECORDS))
    assert head == ["score", "last", "best", "untrained", "raw pixels"]
    assert body == [
        ["knn/accuracy", "0.75", "0.8125 at 1,000", "0.375", "0.25"],
        ["knn/top5", "0.9", "", "", ""],
        ["rank/rank", "31", "", "", ""],
    ]


def test_a_result_says_how_the_run_ended() -> None:
    text = "".join(tree(result_html(SUMMARY, RECORDS)).itertext())
    assert "Run mine: finished, 1,200 steps, 2.5 epochs, 61.2 s" in text
    assert "in runs/mine" in text
    stopped = {**SUMMARY, "finished": False, "stopped_by": "SIGTERM"}
    assert "Run mine: stopped by SIGTERM, 1,200 steps" in result_html(stopped, RECORDS)


def test_without_evaluations_there_is_no_table() -> None:
    assert rows(result_html({**SUMMARY, "metrics": {"loss": 1.0}}, RECORDS)) == []


def points(records: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """The places of the curve."""
    (line,) = tree(result_html(SUMMARY, records)).iter("polyline")
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]  # type: ignore[misc]


def test_the_curve_goes_down_with_the_loss() -> None:
    places = points(RECORDS)
    assert len(places) == 5
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted(y for _, y in places)  # down the picture, as the loss falls


def test_a_flat_curve_is_drawn() -> None:
    assert len({y for _, y in points([{"step": i, "loss": 2.0} for i in range(3)])}) == 1


def test_a_long_curve_is_thinned_to_means() -> None:
    many = [{"step": i, "loss": float(i % 2)} for i in range(10 * POINTS)]
    assert len(points(many)) == POINTS


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"step": 1, "loss": 1.0}],
        [{"step": 1}, {"step": 2, "eval/knn/accuracy": 0.5}],
        [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": float("inf")}, {"step": 3, "loss": 1.0}],
        [{"step": 1, "loss": None}, {"step": 2, "loss": 1.0}],
    ],
    ids=["none", "one", "evaluations", "not finite", "null"],
)
def test_what_is_no_curve_is_left_out(records: list[dict[str, Any]]) -> None:
    assert "<svg" not in result_html(SUMMARY, records)


def test_names_are_text_and_no_markup() -> None:
    html = result_html({**SUMMARY, "name": "<b>&", "paths": {"run": "<script>"}}, RECORDS)
    assert "<script>" not in html
    assert "&lt;b&gt;&amp;" in html


def test_objects_show_themselves(tmp_path: Path) -> None:
    mine = run(
        out=str(tmp_path),
        log={"every": 1, "flops": False, "figures": False},
        evaluate=[{"kind": "knn", "k": 5}],
    )
    assert mine._repr_html_() == run_html(mine.spec)
    assert re.fullmatch(r"<Run tiny: digits, vit\(.*\), mae\(.*\), in .*>", repr(mine))
    result = mine.fit()
    assert isinstance(result, Result)
    html = result._repr_html_()
    assert "knn/accuracy" in html
    assert "<svg" in html
    assert str(tmp_path) in html


def test_a_result_whose_folder_is_gone_shows_its_scores(tmp_path: Path) -> None:
    gone = Result(
        {}, {}, {"run": str(tmp_path / "gone")}, {**SUMMARY, "paths": {"run": str(tmp_path / "gone")}}
    )
    assert rows(gone._repr_html_())[1][0] == "knn/accuracy"
    assert "<svg" not in gone._repr_html_()
