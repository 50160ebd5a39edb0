"""The page of a run."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from sslkit.errors import CheckpointError
from sslkit.report.run_report import REPORT, report
from sslkit.report.sections import features_shown
from sslkit.runs.evaluations import evaluations
from sslkit.runtime.atomic_files import write_text
from tests.evaluate.made_runs import evaluated, right, run_folder
from tests.report.parsed import Page, require_self_contained

EVERY = [
    "scores",
    "protocols",
    "training",
    "reconstructions",
    "gallery",
    "maps",
    "confusion",
    "geometry",
    "attention",
    "figures",
    "details",
    "cost",
    "environment",
    "spec",
]


def page(run_dir, tmp_path, **options) -> Page:
    return Page(report(run_dir, tmp_path / "page.html", **options).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(run_dir, tmp_path_factory):
    """The page with all that a run has, without UMAP, which takes long to load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sslkit.report.sections.feature_maps.find_spec", lambda name: None)
        patch.setattr(features_shown, "POINTS", 60)
        return report(run_dir, tmp_path_factory.mktemp("page") / "new" / "page.html")


def test_every_section_is_there_and_nothing_is_fetched(whole):
    found = Page(whole.read_text(encoding="utf-8"))
    require_self_contained(found)
    assert found.sections == EVERY
    assert "http://" not in whole.read_text(encoding="utf-8")
    assert "https://" not in whole.read_text(encoding="utf-8")
    assert found.all("html") == [{"lang": "en"}]
    assert whole.stat().st_size < 2_000_000
    assert [f.name for f in whole.parent.iterdir()] == ["page.html"], "no temporary file is left"


def test_numbers_are_those_of_the_evaluations(whole, run_dir):
    found, known = Page(whole.read_text(encoding="utf-8")), evaluations(run_dir)
    heading, *rows = found.tables["Headline of each evaluation"]
    assert heading[:4] == ["Evaluation", "Protocol", "Headline", "Value"]
    assert [row[0] for row in rows] == ["knn", "logistic", "geometry", "attention", "lowshot"]
    low, high = known["knn"].intervals["accuracy"]
    knn = dict(zip(heading, rows[0], strict=True))
    assert knn["Value"] == f"{100 * known['knn'].metrics['accuracy']:.2f} %"
    assert knn["95 % interval"] == f"[{100 * low:.2f}, {100 * high:.2f}]"
    assert knn["Images"] == "360"
    assert knn["Step"] == "8"
    assert knn["raw pixels"].endswith("%")
    assert dict(zip(heading, rows[1], strict=True))["raw pixels"] == "", "no baseline was asked for"
    settings = dict(found.tables["Settings of knn"])
    assert settings["k"] == "20"
    assert "every" not in settings


def test_left_out_says_how_to_get_it(whole):
    told = Page(whole.read_text(encoding="utf-8")).left_out()
    assert (
        told == "Conflict of terms: for hybrids with a balancer of gradients, or log: {conflict: 100 steps}."
    )


def test_fast_needs_no_network(run_dir, tmp_path, monkeypatch):
    def refuse(*args):
        raise AssertionError("the network is opened")

    monkeypatch.setattr("sslkit.report.run_report.look", refuse)
    found = page(run_dir, tmp_path, fast=True)
    assert found.sections == [key for key in EVERY if key not in {"gallery", "maps"}]
    assert (
        "Nearest neighbors: --fast leaves it out; Map of features: --fast leaves it out" in found.left_out()
    )


def test_the_page_lies_in_the_run_by_default(run_dir, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    assert report(copy, fast=True) == copy / REPORT
    first = (copy / REPORT).read_bytes()
    report(copy, fast=True)
    assert (copy / REPORT).read_bytes() == first, "the same run gives the same page"


def test_a_page_that_cannot_be_written_leaves_the_old_one(run_dir, tmp_path, monkeypatch):
    out = tmp_path / "page.html"
    out.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        report(run_dir, out, fast=True)
    assert out.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["page.html"]


def test_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="holds no run"):
        report(tmp_path)


def test_a_run_without_anything_has_a_page(tmp_path):
    found = page(run_folder(tmp_path / "bare"), tmp_path)
    require_self_contained(found)
    assert found.sections == ["cost", "environment", "spec"]
    told = found.left_out()
    assert "Evaluations: add {kind: knn} to evaluate and run sslkit evaluate;" in told
    assert "Geometry: add {kind: geometry} to evaluate;" in told
    assert "Not finished after 0 steps. No warnings." in found.text


def test_a_lost_checkpoint_costs_only_what_needs_it(run_dir, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints")
    found = page(copy, tmp_path)
    assert "scores" in found.sections
    assert "gallery" not in found.sections
    assert "Nearest neighbors: " in found.left_out()
    assert "checkpoint" in found.left_out()


def test_text_of_a_run_is_no_markup(tmp_path):
    evil = run_folder(tmp_path / "run", name="<script>alert(1)</script> & co")
    evaluated(evil, "knn", right(0.8), settings={"kind": "knn", "note": "<img src=http://x>"})
    found = page(evil, tmp_path, fast=True)
    require_self_contained(found)
    assert len(found.all("script")) == 1, "the page's own"
    assert "<script>alert(1)</script> & co" in found.text
    assert dict(found.tables["Settings of knn"])["note"] == "<img src=http://x>"


@pytest.mark.parametrize(
    "warning",
    [
        "features collapse",
        {"metric": "mae/feature_std", "step": 7, "value": 0.1, "text": "features collapse"},
    ],
)
def test_warnings_stand_at_the_top(run_dir, tmp_path, warning):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    lines = (copy / "metrics.jsonl").read_text() + json.dumps({"step": 7, "warning": warning}) + "\n"
    write_text(copy / "metrics.jsonl", lines)
    found = page(copy, tmp_path, fast=True)
    assert "One warning while training." in found.text
    assert "Step 7: features collapse" in found.text
    assert "mae/feature_std" not in found.text.split("Step 7:")[1][:40]
