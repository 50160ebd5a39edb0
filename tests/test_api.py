"""Runs from Python."""

from __future__ import annotations

import os
import signal

import pytest
import torch

import sslkit
from sslkit import (
    KNN,
    MAE,
    Digits,
    HorizontalFlip,
    Normalize,
    NormalizedPixel,
    OptimizerSpec,
    RandomMasker,
    RandomResizedCrop,
    Run,
    ViewSpec,
    ViT,
    compose,
    load_backbone,
    resume_run,
)
from sslkit.core.passes import Request
from sslkit.data.crops import Pipeline
from sslkit.data.loaders import ResidentFeed
from sslkit.errors import CheckpointError, Interrupted, SpecError
from sslkit.runs.summary import read_summary
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.parallel import Single
from sslkit_objectives.specs.masked import Decoder
from tests import tiny
from tests.train.test_trainer import stop_at


def fields(**changes):
    """The tiny run, written with spec classes."""
    view = ViewSpec(
        size=8,
        augment=(RandomResizedCrop(scale=(0.5, 1.0)), HorizontalFlip()),
        normalize=Normalize(mean=(0.3,), std=(0.4,)),
    )
    return {
        "name": "tiny",
        "seed": 3,
        "device": "cpu",
        "data": Digits(),
        "workers": 0,
        "views": {"global": view},
        "backbone": ViT(name="vit_tiny_patch16_224", patch=4, width=16, depth=2, heads=2),
        "objective": MAE(
            masker=RandomMasker(ratio=0.5),
            target=NormalizedPixel(),
            decoder=Decoder(width=16, depth=1, heads=2),
        ),
        "optimizer": OptimizerSpec(lr=0.01),
        "batch_size": 32,
        "steps": 8,
        "checkpoint": {"every": "3 steps"},
        "log": {"every": 1, "flops": False, "figures": False},
        **changes,
    }


def test_python_and_yaml_describe_the_same_run(tmp_path):
    from_classes, from_yaml = Run(**fields()), Run(**tiny.fields())
    assert from_classes.spec == from_yaml.spec == tiny.spec()
    path = tmp_path / "run.yaml"
    path.write_text(from_classes.to_yaml())
    assert Run.from_yaml(path).spec == from_classes.spec
    path.write_text(from_classes.to_yaml(full=True))
    assert Run.from_yaml(str(path)).spec == from_classes.spec


def test_yaml_holds_what_was_set_and_all_of_it_on_request():
    short, full = Run(**fields()).to_yaml(), Run(**fields()).to_yaml(full=True)
    assert "clip_per" not in short
    assert "clip_per: global" in full
    assert short.startswith("name: tiny\n")


def test_overrides_change_a_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(Run(**fields()).to_yaml())
    run = Run.from_yaml(path, "optimizer.lr=3e-4", "seed=7")
    assert (run.spec.optimizer.lr, run.spec.seed) == (3e-4, 7)
    path.write_text(run.to_yaml())
    assert Run.from_yaml(path).spec == run.spec


def test_fit_returns_what_the_run_came_to(tmp_path):
    result = Run(**fields(out=tmp_path, evaluate=[KNN()])).fit()
    assert result.summary == read_summary(tmp_path)
    assert result.metrics == result.summary["metrics"]
    assert result.metrics["eval/knn/accuracy"] == result.best["eval/knn/accuracy"]["value"]
    assert result.best["eval/knn/accuracy"]["step"] == 8
    assert result.paths["run"] == str(tmp_path)
    assert all(os.path.exists(path) for path in result.paths["figures"])  # noqa: PTH110
    backbone = result.backbone
    assert not backbone.training
    request = [Request(torch.randn(1, 2, 1, 8, 8), None, "drop", ())]
    assert torch.equal(backbone(request)[0].cls, load_backbone(tmp_path)(request)[0].cls)
    assert load_backbone(str(tmp_path), "best").dim == 16


def test_a_loop_by_hand_is_fit(tmp_path):
    """The documented lower level gives the same weights, bit for bit."""
    result = Run(**fields(out=tmp_path, nets={"ema": {"momentum": 0.9}})).fit()
    run = Run(**fields(nets={"ema": {"momentum": 0.9}})).spec
    composed = compose(run, Single(torch.device("cpu")))
    pipeline = Pipeline(run.views, composed.env.views, run.seed)
    feed = ResidentFeed(composed.source.resident(), composed.order, pipeline, torch.device("cpu"))
    losses = [composed.step(step, feed.step(step)).total.item() for step in range(composed.length.steps)]
    assert weights_sha256(composed.system) == result.summary["weights_sha256"]
    assert losses[-1] == result.metrics["loss"]


def test_a_stopped_run_is_resumed_from_python(tmp_path, monkeypatch):
    whole = Run(**fields(out=tmp_path / "whole")).fit()
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match="stopped by SIGTERM at step 4"):
            Run(**fields(out=tmp_path / "cut")).fit()
    resumed = resume_run(str(tmp_path / "cut"))
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_fit_again_returns_the_same_result(tmp_path):
    first = Run(**fields(out=tmp_path, steps=2)).fit()
    assert Run(**fields(out=tmp_path, steps=2)).fit() == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": "many"}, "RunSpec.batch_size: must be a whole number, found 'many' (str)"),
        ({"batchsize": 4}, "RunSpec.batchsize: is not a field of RunSpec. Did you mean 'batch_size'?"),
        (
            {"objective": {"kind": "mea"}},
            "RunSpec.objective.kind: 'mea' is not a objective. Did you mean 'mae'?",
        ),
        ({"optimizer": {"lr": "fast"}}, "RunSpec.optimizer.lr: must be a number, found 'fast' (str)"),
        ({"micro_batch_size": 5}, "micro_batch_size: 5 does not divide `batch_size` 32"),
        ({"readout": {"net": "ema"}}, "readout.net: 'ema' is not a net of this run. Known: student"),
        ({"epochs": 3}, "give exactly one of `epochs` and `steps`"),
    ],
)
def test_wrong_fields_are_named(changes, message):
    with pytest.raises(SpecError) as caught:
        Run(**fields(**changes))
    assert message.replace("a objective", "an objective") in str(caught.value)


def test_a_missing_field_is_named():
    without = fields()
    del without["batch_size"]
    with pytest.raises(SpecError, match=r"RunSpec\.batch_size: is missing\. Images per step"):
        Run(**without)


def test_folders_without_a_run_are_refused(tmp_path):
    for read in (load_backbone, resume_run):
        with pytest.raises(CheckpointError, match="holds no run"):
            read(tmp_path)


def test_the_package_offers_the_api_by_name():
    assert sslkit.Run is Run
    assert sslkit.Result.__name__ == "Result"
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'; `sslkit plugins list` shows"):
        _ = sslkit.Nothing
