"""What the specs say, refuse, and do in a run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sslkit import AttentionStatistics, FeatureGeometry
from sslkit.errors import SpecError
from sslkit.evaluate.evaluate_network import evaluate_run
from sslkit.runs import metrics_log
from sslkit.runs.evaluations import evaluations
from sslkit.specs.load import parse
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import images

CNN = {"kind": "cnn", "name": "resnet10t", "stem": "cifar"}
TEN = {"kind": "geometry", "max_images": 60, "neighbours": 5, "restarts": 1, "every": "4 steps"}
LOOK = {"kind": "attention", "max_images": 10, "shown": 2, "every": "4 steps"}


def refused(**fields):
    with pytest.raises(SpecError) as caught:
        parse(tiny.fields(**fields))
    return str(caught.value)


def test_protocols_name_what_differs():
    assert FeatureGeometry().build().protocol == "geometry@1"
    assert FeatureGeometry(name="other", every="5 epochs").build().protocol == "geometry@1"
    changed = FeatureGeometry(split="train", neighbours=10).build()
    assert changed.protocol == "geometry@1(split=train, neighbours=10)"
    assert AttentionStatistics(shown=0).build().protocol == "attention@1"
    assert AttentionStatistics(max_images=8).build().protocol == "attention@1(max_images=8)"


def test_defaults_are_those_of_the_references():
    spec = FeatureGeometry()
    assert (spec.neighbours, spec.discard) == (20, 0.1)
    assert spec.positives == "views"


def test_a_scale_that_is_not_ordered_is_refused():
    said = refused(evaluate=[{"kind": "geometry", "scale": [0.9, 0.2]}])
    assert "evaluate.0.scale: the first share is the smaller one, found [0.9, 0.2]" in said


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_images", 3), ("neighbours", 1), ("discard", 1.0), ("clusters", 1), ("scale", [0, 1])],
)
def test_values_that_make_no_sense_are_refused(field, value):
    assert f"evaluate.0.{field}" in refused(evaluate=[{"kind": "geometry", field: value}])


def test_a_backbone_without_attention_is_refused_before_training():
    simclr = {"kind": "simclr"}
    views = {"global": {**tiny.VIEW, "crops": 2}}
    said = refused(backbone=CNN, objective=simclr, views=views, evaluate=[{"kind": "knn"}, LOOK])
    assert "evaluate.1: a 'cnn' does not tell its attention; use a 'vit', or leave this out" in said


def test_the_net_that_is_read_counts():
    """A frozen network of its own in place of the student."""
    nets = {"other": {"backbone": CNN}}
    readout = {"net": "other"}
    said = refused(nets=nets, readout=readout, evaluate=[LOOK])
    assert "a 'cnn' does not tell its attention" in said
    average = parse(tiny.fields(nets={"ema": {"momentum": 0.5}}, readout={"net": "ema"}, evaluate=[LOOK]))
    assert average.evaluate[0].kind == "attention"


def test_baselines_are_refused_for_attention_only():
    said = refused(evaluate=[{**LOOK, "baselines": True}])
    assert "evaluate.0.baselines: raw pixels have no attention to measure" in said
    parse(tiny.fields(evaluate=[{"kind": "geometry", "baselines": True}]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    train(tiny.spec(out, evaluate=[{**TEN, "baselines": True}, LOOK], log=tiny.DRAWN), lambda text: None)
    return out


def test_a_run_records_both_and_evaluating_again_gives_the_same_numbers(finished):
    seen = {e["step"]: e for e in metrics_log.read(finished) if "eval/geometry/rankme" in e}
    assert list(seen) == [4, 8]
    assert "eval/attention/head_divergence" in seen[8]
    again = evaluate_run(finished)["metrics"]
    for label, metrics in again.items():
        assert metrics == {name: seen[8][f"eval/{label}/{name}"] for name in metrics}


def test_baselines_of_geometry_are_raw_pixels_and_the_untrained_net(finished):
    first = {
        key: value
        for entry in metrics_log.read(finished)
        if entry["step"] == 0
        for key, value in entry.items()
    }
    for name in ("raw_pixels", "untrained"):
        assert first[f"baseline/{name}/geometry/two_nn"] > 1
    assert not [key for key in first if "attention" in key]


def test_what_is_stored(finished):
    stored = evaluations(finished)
    assert stored["geometry"].headline == "rankme"
    assert stored["geometry"].protocol.startswith("geometry@1(max_images=60, ")
    assert stored["geometry"].predictions() is None
    assert len(stored["attention"].tables["entropy"]) == 2
    for evaluation in stored.values():
        json.dumps(dict(evaluation.tables), allow_nan=False)
        for path in evaluation.figures.values():
            assert (finished / path).read_bytes().startswith(b"\x89PNG")
    assert set(stored["attention"].figures) == {"layers", "maps"}
    assert set(stored["geometry"].data) == {"test"}


def test_images_without_labels_are_measured(tmp_path):
    folder = images(tmp_path / "images", 40)
    source = {"kind": "folder", "root": str(folder)}
    geometry = {**TEN, "split": "train", "every": "end", "clusters": 3}
    evaluate = [geometry, {**LOOK, "split": "train", "every": "end"}]
    views = {"global": {**tiny.VIEW, "normalize": {}}}
    run = tiny.spec(tmp_path / "run", data=source, views=views, evaluate=evaluate)
    train(run, lambda text: None)
    stored = evaluations(tmp_path / "run")
    assert stored["geometry"].metrics["rankme"] >= 1
    assert "silhouette" in stored["geometry"].metrics
    assert "ari" not in stored["geometry"].metrics
    assert stored["attention"].metrics["entropy"] > 0


def test_specs_need_no_torch():
    code = (
        "import sys; from sslkit_evaluators.specs.analysis import FeatureGeometry, AttentionStatistics; "
        "FeatureGeometry(); AttentionStatistics(); print('torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
