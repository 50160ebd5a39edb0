"""Sections that are made of what a run folder holds."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import CheckpointError
from sslkit.report.page.embedded_images import LARGE, WIDEST, figure_image
from sslkit.report.run_data import RunData, finite, is_share, read_run, share_axes
from sslkit.report.sections import confusion, curves, run_pictures, scores, settings, structure
from sslkit.runs.evaluations import StoredPredictions, evaluations
from sslkit.runtime.atomic_files import write_text
from tests.evaluate.made_runs import evaluated, right, run_folder, worsened
from tests.report.parsed import Page


def recorded(tmp_path, records, **fields) -> RunData:
    """A run with `records`."""
    run_dir = run_folder(tmp_path / "run", **fields)
    write_text(run_dir / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in records))
    return read_run(run_dir)


def titles(page: Page) -> list[str]:
    """Of the drawings."""
    return [a["aria-label"].partition(".")[0] for a in page.all("svg")]


def test_a_run_is_read_as_far_as_it_came(tmp_path):
    run = recorded(
        tmp_path, [{"step": 1, "loss": 2.0}, {"step": 5, "loss": None}, {"step": 5, "warning": "w"}]
    )
    assert (run.step, run.total, run.summary, run.evaluations) == (5, None, {}, {})
    assert run.curve("loss") == ([1.0], [2.0]), "a value that is not finite is no point"
    assert run.warnings() == [(5, "w")]
    assert run.keys(lambda key: key.startswith("l")) == ["loss"]


def test_a_damaged_summary(tmp_path):
    run_dir = run_folder(tmp_path / "run")
    (run_dir / "summary.json").write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        read_run(run_dir)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("accuracy", 0.5, True), ("clean_accuracy", 1.0, True), ("map", 0.3, True), ("top5", 0.9, True),
        ("recall_1", 0.2, True), ("area", 0.4, True), ("accuracy", 55.0, False), ("rankme", 0.5, False),
        ("silhouette", 0.2, False), ("learning_rate", 0.1, False), ("accuracy", None, False), ("nmi", 0.5, True),
    ],
)  # fmt: skip
def test_shares(name, value, expected):
    assert is_share(name, value) is expected


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 1.0), (0.5, 0.5), (float("nan"), None), ("1", None), (None, None)]
)
def test_finite_numbers(value, expected):
    assert finite(value) == expected


def test_axes_of_a_radar(run):
    assert [axis for axis, _, _ in share_axes([run])] == [
        "knn",
        "knn top5",
        "logistic",
        "geometry nmi",
        "lowshot",
    ]


def test_curves_of_one_run(run):
    page = Page(curves.training([run]))
    assert titles(page)[:3] == ["Loss", "Learning rate", "knn: accuracy"]
    assert "logistic: accuracy" not in titles(page), "one value is no curve"


def test_curves_show_what_was_scored_before_training(tmp_path):
    baselines = {"baseline/raw_pixels/knn/accuracy": 0.75, "baseline/untrained/knn/accuracy": 0.25}
    steps = [{"step": s, "eval/knn/accuracy": s / 10, "loss": 1.0} for s in (1, 2)]
    one = recorded(tmp_path / "one", [{"step": 0, **baselines}, *steps])
    page = Page(curves.training([one]))
    labels = {svg["aria-label"].partition(".")[0]: svg["aria-label"] for svg in page.all("svg")}
    assert labels["knn: accuracy"] == (
        "knn: accuracy. accuracy: 0.1 to 0.2; untrained: 0.25 to 0.25; raw pixels: 0.75 to 0.75"
    )
    assert labels["Loss"] == "Loss. loss: 1 to 1"
    assert len([line for line in page.all("polyline") if line["class"].startswith("level ")]) == 2


def test_of_several_runs_equal_baselines_stand_once(tmp_path):
    steps = [{"step": s, "eval/knn/accuracy": s / 10} for s in (1, 2)]
    runs = [
        recorded(
            tmp_path / name,
            [
                {
                    "step": 0,
                    "baseline/raw_pixels/knn/accuracy": 0.75,
                    "baseline/untrained/knn/accuracy": start,
                },
                *steps,
            ],
            name=name,
        )
        for name, start in (("a", 0.25), ("b", 0.375))
    ]
    label = next(
        svg["aria-label"] for svg in Page(curves.training(runs)).all("svg") if "knn" in svg["aria-label"]
    )
    assert label.endswith(
        "a, untrained: 0.25 to 0.25; b, untrained: 0.375 to 0.375; raw pixels: 0.75 to 0.75"
    )


def test_curves_of_terms_and_of_runs(tmp_path):
    records = [{"step": s, "loss": 1.0, "loss/a": 2.0, "loss/b": 3.0, "lr": 0.1} for s in (1, 2)]
    one = recorded(tmp_path / "one", records)
    two = recorded(tmp_path / "two", records[:1], name="second")
    assert titles(Page(curves.training([one]))) == ["Loss", "Loss of each term", "Learning rate"]
    both = Page(curves.training([one, two]))
    assert titles(both) == ["Loss", "Loss of a", "Loss of b", "Learning rate"]
    assert both.all("svg")[0]["aria-label"] == "Loss. run: 1 to 1; second: 1 to 1"


def test_conflict_says_how_often(tmp_path):
    cosines = [0.5, -0.1, -0.2, None]
    records = [
        {"step": i, "balance/a/weight": 1.0, "balance/b/weight": 0.5, "balance/a_b/cosine": c}
        for i, c in enumerate(cosines, start=1)
    ]
    page = Page(curves.conflict(recorded(tmp_path, records)))
    assert titles(page) == ["Balancer's weight of each term", "Cosine of gradients"]
    assert "a_b: gradients pulled apart (cosine below 0) in 67% of 3 measured steps." in page.text


def test_no_conflict_was_measured(run):
    assert curves.conflict(run) is None


def test_verdicts(tmp_path, run):
    assert scores.verdict(run).startswith("Finished after 8 steps, ")
    assert re.search(
        r"knn accuracy [\d.]+ % \[.*?\], [+−][\d.]+ points against the untrained network and [+−][\d.]+ points "
        r"against raw pixels\. logistic accuracy [\d.]+ % \[[^]]*\]\.",
        scores.verdict(run),
    )
    stopped = run._replace(summary={**run.summary, "finished": False, "epoch": 0.5})
    assert scores.verdict(stopped).startswith("Stopped after 8 of 8 steps, 0.5 epochs.")
    assert scores.verdict(run._replace(summary={})).startswith("Not finished after 8 of 8 steps.")
    assert scores.verdict(recorded(tmp_path, [{"step": 1, "warning": "a"}, {"step": 1, "warning": "b"}])) == (
        "Not finished after 1 steps. 2 warnings while training."
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("accuracy", 0.98765, "98.77 %"),
        ("ari", 0.5, "0.5"),
        ("rankme", 12.345, "12.35"),
        ("loss", None, "not finite"),
    ],
)
def test_metrics_for_people(name, value, said):
    assert scores.say(name, value) == said


def test_settings_are_in_one_line(tmp_path):
    knobs = {"kind": "knn", "every": "end", "ks": [10, 20], "train": None, "inner": {"a": 1, "b": {"c": 2}}}
    run = read_run(evaluated(run_folder(tmp_path / "run"), "knn", right(0.8), settings=knobs))
    page = Page(scores.details(run))
    assert dict(page.tables["Settings of knn"]) == {
        "Setting": "Value", "kind": "knn", "ks": "10, 20", "inner": "a 1; b.c 2",
    }  # fmt: skip


def test_unreadable_images_are_told(tmp_path):
    run = read_run(
        evaluated(run_folder(tmp_path / "run"), "knn", right(0.8), unreadable=["a.png: cut short"])
    )
    assert "1 images could not be read; the first: a.png: cut short" in Page(scores.details(run)).text


def test_confusion_counts():
    found = StoredPredictions(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 0]))
    assert confusion.counts(found, 3).tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]


def test_confusion_of_stored_predictions(tmp_path):
    run = read_run(evaluated(run_folder(tmp_path / "run"), "knn", worsened(right(1.0), 30)))
    page = Page(confusion.confusion(run))
    matrix = page.tables["Confusion matrix of knn: rows are the truth, columns the guess"]
    assert matrix[0] == ["", *map(str, range(10))], "the images are not here: classes go by numbers"
    assert matrix[1] == ["0", "37", "3", *["·"] * 8]
    heading, *pairs = page.tables["Most confused by knn"]
    assert heading == ["Truth", "Taken for", "Images", "Of the class"]
    assert pairs[0] == ["0", "1", "3", "7.5 %"]
    assert "30 of 400 images are taken for another class" in page.text


def test_confusion_of_many_classes_is_pairs_only(tmp_path, monkeypatch):
    monkeypatch.setattr(confusion, "MOST", 9)
    run = read_run(evaluated(run_folder(tmp_path / "run"), "knn", worsened(right(1.0), 30)))
    assert list(Page(confusion.confusion(run)).tables) == ["Most confused by knn"]


def test_no_mistakes_no_pairs(tmp_path):
    run = read_run(evaluated(run_folder(tmp_path / "run"), "knn", right(1.0)))
    assert len(Page(confusion.confusion(run)).tables) == 1


def test_names_of_classes_need_the_same_images(run):
    spec, found = confusion._spec(run), run.evaluations["knn"]
    predictions = found.predictions()
    assert confusion.class_names(spec, found, predictions) == [str(i) for i in range(10)]
    other = found._replace(data={"test": {"fingerprint": "another"}})
    assert confusion._of_source(spec, other) == ()
    assert len(confusion._of_source(spec, found)) == 10


def test_geometry_of_several_runs(tmp_path, run):
    other = run._replace(run_dir=tmp_path, evaluations=dict(run.evaluations))
    page = Page(structure.geometry({"one": run, "two": other}))
    heading, first, *_ = page.tables["Geometry of the features"]
    assert heading == ["Metric", "one", "two"]
    assert first[0] == "rankme"
    assert first[1] == first[2]
    assert titles(page) == ["Spectrum: deviation along each axis", "Variance held by the first axes"]


def test_attention_by_block(run):
    page = Page(structure.attention(run))
    assert len(page.all("svg")) == 5
    assert page.all("path")[0]["d"].count("M") == 4, "two blocks of two heads"
    assert [a["alt"] for a in page.all("img")] == ["attention: maps"]


def test_sections_without_their_evaluator(tmp_path):
    run = read_run(evaluated(run_folder(tmp_path / "run"), "knn", right(0.8)))
    assert structure.geometry({"run": run}) is None
    assert structure.attention(run) is None
    assert run_pictures.reconstructions({"run": run}) is None
    assert run_pictures.others(run) is None


def test_pictures_of_objectives_and_of_evaluators(run):
    page = Page(run_pictures.reconstructions({"run": run}))
    assert [a["alt"] for a in page.all("img")] == ["Reconstruction of held-out images"]
    both = Page(run_pictures.reconstructions({"one": run, "two": run}))
    assert [a["alt"] for a in both.all("img")] == [
        f"Reconstruction of held-out images by {n}" for n in ("one", "two")
    ]
    assert [a["alt"] for a in Page(run_pictures.others(run)).all("img")] == ["lowshot: curve"]


def test_large_figures_are_made_smaller(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 2 * WIDEST, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > LARGE
    (image,) = Page(figure_image(tmp_path / "noise.png", "noise")).all("img")
    assert image["src"].startswith("data:image/jpeg;base64,")
    assert (image["width"], image["height"]) == (str(WIDEST), "200")


def test_a_damaged_figure_is_left_out_and_named(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n")
    page = Page(figure_image(tmp_path / "cut.png", "cut"))
    assert page.all("img") == []
    assert "The picture cut.png is damaged, and is left out." in page.text
    (tmp_path / "folder.png").mkdir()
    assert "The picture folder.png is no file" in Page(figure_image(tmp_path / "folder.png", "folder")).text
    assert figure_image(tmp_path / "missing.png", "missing") is None


def test_cost(run):
    text = Page(settings.cost(run)).text
    assert "Images seen 256" in text
    assert "Tokens " in text
    assert "FLOP" in text
    assert "GPU hours" not in text
    assert "Energy is known where" in text
    gpu = run._replace(
        lock={**run.lock, "resolved": {**run.lock["resolved"], "device": "NVIDIA H100", "ranks": 4}},
        summary={**run.summary, "seconds": 1800.0, "energy_joules": 7200.0, "energy_of": "4 GPUs"},
    )
    text = Page(settings.cost(gpu)).text
    assert "GPU hours 2" in text
    assert "Training time 0:30:00" in text
    assert "Energy 2 Wh" in text
    assert "Energy is that of 4 GPUs, other programs included." in text


def test_environment_and_spec(run):
    page = Page(settings.environment(run))
    assert dict(page.tables["Versions"])["torch"]
    assert "Device cpu" in page.text
    commit = run._replace(lock={**run.lock, "git": f"{'a' * 40}+changes"})
    assert f"Commit {'a' * 12}, with changes" in Page(settings.environment(commit)).text
    assert "batch_size: 32" in Page(settings.spec(run)).text


def test_evaluations_of_the_page_are_the_last_ones(run, run_dir):
    assert run.evaluations.keys() == evaluations(run_dir).keys()
    assert list(run.evaluations) == ["knn", "logistic", "geometry", "attention", "lowshot"], (
        "as the spec lists them"
    )
