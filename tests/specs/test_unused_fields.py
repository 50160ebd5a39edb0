"""Fields that were set and have no effect are refused, or noted where a switch of the spec turned them off."""

# ruff: noqa: E501 - a case stands on one line

from __future__ import annotations

import time
from typing import Any

import pytest

from sslkit import MAE, Hybrid, SimCLR
from sslkit.errors import SpecError
from sslkit.specs.check import check, notes
from sslkit.specs.load import dump, parse, parse_as, parse_yaml
from sslkit.specs.projection_head import Projection
from sslkit.specs.run import RunSpec
from sslkit.specs.unused_fields import differs, unused
from tests.specs.valid import small

TEACHER = {"teacher": {}}
TWO = {"global": {"size": 16, "crops": 2}}
BOTH = {"global": {"size": 16, "crops": 2}, "local": {"size": 8}}


def masker(**fields: Any) -> dict[str, Any]:
    return {"objective": {"kind": "mae", "masker": fields}}


def objective(kind: str, **fields: Any) -> dict[str, Any]:
    return {"objective": {"kind": kind, **fields}, "views": TWO, "nets": TEACHER}


def evaluator(kind: str, **fields: Any) -> dict[str, Any]:
    return {"evaluate": [{"kind": kind, **fields}]}


def augment(kind: str, **fields: Any) -> dict[str, Any]:
    return {"views": {"global": {"size": 16, "augment": [{"kind": kind, **fields}]}}}


def dino(**fields: Any) -> dict[str, Any]:
    return objective("dino", local=None, **fields)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("optimizer.momentum", {"optimizer": {"momentum": 0.8}}, "'adamw' has no `momentum`"),
    ("optimizer.trust", {"optimizer": {"trust": 0.1}}, "is for `lars`, found 'adamw'"),
    ("optimizer.trust", {"optimizer": {"name": "sgd", "trust": 0.1}}, "is for `lars`, found 'sgd'"),
    ("optimizer.clip_per", {"optimizer": {"clip_per": "tensor"}}, "`clip` is not set"),
    ("optimizer.betas", {"optimizer": {"name": "lars", "betas": [0.9, 0.99]}}, "'lars' has no `betas`"),
    ("optimizer.betas", {"optimizer": {"name": "sgd", "betas": [0.9, 0.99]}}, "'sgd' has no `betas`"),
    ("optimizer.eps", {"optimizer": {"name": "momentum", "eps": 1e-6}}, "'momentum' has no `eps`"),
    ("balance", {"balance": {"kind": "pcgrad"}}, "'pcgrad' balances several objectives, and there is one"),
    ("objective.balance", {"objective": {"kind": "hybrid", "objectives": {"a": {"kind": "mae"}}, "balance": {"kind": "dwa"}}}, "'dwa' balances"),
    ("log.conflict", {"log": {"conflict": "5 steps"}}, "compares the gradients of several objectives"),
    ("views.globl", {"views": {**TWO, "globl": {"size": 32}}}, "no objective reads this view. Did you mean `views.global`?"),
    ("views.local", {"views": BOTH}, "no objective reads this view."),
    ("schedule.warmup_start", {"schedule": {"warmup_epochs": 0, "warmup_start": 0.1}}, "`warmup_epochs` is 0"),
    ("schedule.final", {"schedule": {"shape": "constant", "final": 0.1}}, "`shape` is constant"),
    ("schedule.per", {"schedule": {"shape": "constant", "per": "epoch", "warmup_epochs": 0}}, "on a constant rate"),
    ("objective.salt", objective("simclr", salt=3), "this one has no masker"),
    ("objective.mode", objective("uniformity", mode="token"), "has no effect without `masker`"),
    ("objective.mode", objective("koleo", mode="token"), "has no effect without `masker`"),
    ("objective.mode", objective("variance_covariance", mode="token"), "has no effect without `masker`"),
    ("objective.mode", objective("infonce", mode="token"), "has no effect without `masker`"),
    ("objective.max_scale", objective("infonce", max_scale=50), "has no effect without `learn_temperature`"),
    ("objective.exclude_self", objective("infonce", exclude_self=False), "has no effect without `all_crops`"),
    ("objective.gather", objective("infonce", net="teacher", queue=900, in_batch=False, gather="none"), "has no effect without `in_batch`"),
    ("objective.center_momentum", dino(centering="sinkhorn", center_momentum=0.5), "is for `centering: center`"),
    ("objective.patch_center", objective("ibot", local=None, centering="sinkhorn", patch_center="hidden"), "is for `centering: center`"),
    ("objective.patch_center_momentum", objective("ibot", local=None, centering="none", patch_center_momentum=0.5), "is for `centering: center`"),
    ("objective.center_momentum", objective("masked_distillation", centering="none", center_momentum=0.5), "is for `centering"),
    ("objective.projector.hidden", objective("simclr", projector={"layers": 1, "hidden": 64}), "`layers` is 1"),
    ("objective.projector.bias", objective("simclr", projector={"layers": 1, "bias": True}), "`layers` is 1"),
    ("objective.projector.batch_norm", objective("moco_v2", projector={"batch_norm": "local"}), "this head has no batch norm"),
    ("objective.target.beta", {"objective": {"kind": "data2vec", "target": {"kind": "teacher_feature", "loss": "l2", "beta": 1}}, "nets": TEACHER}, "is for `loss: smooth_l1`"),
    ("objective.target.beta", {"objective": {"kind": "mae", "target": {"kind": "perceptual", "beta": 2}}, "nets": TEACHER}, "is for `loss: smooth_l1`"),
    ("objective.target.average", {"objective": {"kind": "mae", "target": {"kind": "teacher_feature", "layers": "final", "average": False}}, "nets": TEACHER}, "reads one output"),
    ("objective.codebook.eps", objective("vq_kd", codebook={"eps": 0.1}), "is for `metric: euclidean`"),
    ("objective.codebook.sample", objective("vq_vae", codebook={"kmeans_steps": 0, "sample": 4}), "without `kmeans_steps` and `revive`"),
    ("objective.masker.bins", masker(kind="complexity", bins=8), "is for `measure: entropy`"),
    ("objective.masker.hints", {**masker(kind="attention", hints=0.2), "nets": TEACHER}, "is for `variant: hint`"),
    ("objective.masker.weights", masker(kind="mixture", maskers=[{"kind": "random"}], weights=[2]), "with a single masker"),
    ("objective.masker.masker.ratio", masker(kind="curriculum", masker={"kind": "random", "ratio": 0.6}, field="ratio", start=0.5, end=0.8), "`start` and `end` replace it"),
    ("backbone.zero_init_last", {"backbone": {"kind": "cnn", "name": "resnet18", "checkpoint": __file__, "zero_init_last": False}, **objective("simclr")}, "the weights of `checkpoint`"),
    ("backbone.pretrained", {"backbone": {"kind": "timm", "name": "resnet18", "checkpoint": __file__, "pretrained": True}, **objective("simclr")}, "the weights of `checkpoint`"),
    ("nets.wise.backbone.drop_path", {"nets": {"wise": {"backbone": {**small()["backbone"], "drop_path": 0.1}}}}, "this net is frozen"),
    ("nets.wise.backbone.batch_norm", {"nets": {"wise": {"backbone": {"kind": "cnn", "batch_norm": "local"}}}}, "this net is frozen"),
    ("data.test_attributes", {"data": {"kind": "folder", "root": ".", "extensions": [".py"], "test_attributes": __file__}}, "has no effect without `test`"),
    ("evaluate.0.halvings", evaluator("logistic", strengths=[1.0], halvings=2), "with a single strength"),
    ("evaluate.0.k", evaluator("lowshot", k=5), "has no effect with `head: logistic`"),
    ("evaluate.0.strength", evaluator("lowshot", head="knn", strength=1.0), "has no effect with `head: knn`"),
    ("evaluate.0.temperature", evaluator("robustness", classifier="logistic", temperature=1.0), "has no effect with `classifier: logistic`"),
    ("evaluate.0.strength", evaluator("robustness", strength=1.0), "has no effect with `classifier: knn`"),
    ("evaluate.0.bottleneck", evaluator("peft", bottleneck=8), "has no effect with `method: lora`"),
    ("evaluate.0.rank", evaluator("peft", method="adapter", rank=2), "has no effect with `method: adapter`"),
    ("evaluate.0.scale", evaluator("geometry", positives="none", scale=[0.5, 1.0]), "is for `positives: views`"),
    ("evaluate.0.ratios", {**masker(kind="grid"), **evaluator("reconstruction", ratios=[0.5])}, "no masker of this run has a field `ratio`"),
]  # fmt: skip
"""(path, fields of a run, part of the message)."""

NOTED: list[tuple[str, dict[str, Any]]] = [
    ("nets.ema", {"nets": {"ema": {}}}),
    ("compile.mode", {"compile": {"enabled": False, "mode": "max-autotune"}}),
    ("compile.backend", {"device": "cpu", "compile": {"backend": "aot_eager"}}),
    ("optimizer.no_decay", {"optimizer": {"weight_decay": 0, "no_decay": ["pos_embed"]}}),
    ("objective.decoder.heads", {"objective": {"kind": "mae", "decoder": {"depth": 0, "heads": 8}}}),
    ("objective.decoder.heads", objective("vq_vae", decoder={"depth": 0, "heads": 4}) | {"nets": {}}),
    ("views.global.augment.0.brightness", augment("color_jitter", probability=0, brightness=0.8)),
    (
        "views.global.augment.0.probability",
        augment("color_jitter", brightness=0, contrast=0, saturation=0, hue=0, probability=0.5),
    ),
    ("views.global.augment.0.sigma", augment("gaussian_blur", probability=0, sigma=[1, 2])),
    ("views.global.augment.0.threshold", augment("solarize", probability=0, threshold=0.2)),
    (
        "views.global.augment.0.padding",
        augment("random_affine", degrees=0, translate=0, scale=[1, 1], padding="border"),
    ),
    ("objective.masker.measure", masker(kind="complexity", share=0, measure="entropy")),
    ("objective.masker.clusters", {**masker(kind="semantic", share=0, clusters=3), "nets": TEACHER}),
    ("objective.masker.ridge", {**masker(kind="difficulty", share=0, ridge=1.0), "nets": TEACHER}),
    ("objective.masker.variant", {**masker(kind="attention", share=0, variant="low"), "nets": TEACHER}),
    (
        "balance.rescale",
        {
            "objective": None,
            "objectives": {"a": {"kind": "mae"}, "b": {"kind": "simmim"}},
            "balance": {"kind": "cagrad", "c": 0, "rescale": False},
        },
    ),
]
"""(path, fields of a run)."""


@pytest.mark.parametrize(("path", "fields", "message"), REFUSED)
def test_a_field_without_effect_is_refused(path: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(small(**fields))
    assert any(line.startswith(f"{path}: ") and message in line for line in str(caught.value).splitlines())


@pytest.mark.parametrize(("path", "fields"), NOTED, ids=[path for path, _ in NOTED])
def test_what_a_switch_turned_off_is_noted(path: str, fields: dict[str, Any]) -> None:
    run = parse(small(**fields))
    assert [note.partition(": ")[0] for note in notes(run)] == [path]


def test_fields_with_an_effect_pass() -> None:
    optimizers = [
        {"name": "lars", "momentum": 0.8, "trust": 0.1},
        {"name": "sgd", "momentum": 0.8},
        {"name": "adamw", "betas": [0.8, 0.9], "eps": 1e-6},
        {"clip": 1.0, "clip_per": "tensor"},
    ]
    for optimizer in optimizers:
        assert list(unused(parse(small(optimizer=optimizer)))) == []
    two = {"objective": None, "objectives": {"a": {"kind": "mae"}, "b": {"kind": "mae", "view": "local"}}}
    run = parse(small(**two, views=BOTH, balance={"kind": "dwa"}, log={"conflict": "5 steps"}))
    assert list(unused(run)) == []
    assert list(unused(parse(small(balance={"kind": "fixed", "weights": {"mae": 0.5}})))) == []


def test_a_thousand_views_that_nobody_reads_are_compared_with_those_that_are_read() -> None:
    views = {**TWO, **{f"globl{i}": {"size": 32} for i in range(1000)}}
    begun = time.process_time()
    with pytest.raises(
        SpecError, match=r"^views\.globl0: .* Did you mean `views\.global`\?\nviews\.globl1: "
    ):
        parse(small(views=views))
    assert time.process_time() - begun < 5, "each was compared with each"


def test_a_view_for_the_readout_alone_is_read() -> None:
    views = {"global": {"size": 16}, "shown": {"size": 32}}
    assert list(unused(parse(small(views=views, readout={"view": "shown"})))) == []


def test_defaults_never_count_not_even_in_a_lock_where_all_are_set() -> None:
    head = {"kind": "moco_v2", "projector": {"layers": 1}}  # MoCo v1: the head's own default has biases
    for fields in ({}, {"views": TWO, "nets": TEACHER, "objective": head}):
        run = parse(small(**fields))
        assert parse(parse_yaml(dump(run, full=True), "lock")) == run


def test_a_run_that_began_is_not_refused_later() -> None:
    fields = small(optimizer={"momentum": 0.8})
    assert parse(fields, began=True).optimizer.momentum == 0.8
    with pytest.raises(SpecError, match=r"^optimizer\.momentum: "):
        check(parse_as(RunSpec, fields))
    check(parse_as(RunSpec, fields), effects="evaluate")


def test_defaults_are_those_of_the_place() -> None:
    objectives = {"a": MAE(), "b": SimCLR(projector=Projection(out=64))}
    run = parse(small(objective=Hybrid(objectives=objectives), views=TWO))
    members = "objective.objectives"
    assert not differs(run, f"{members}.b.projector.init")
    assert run.terms["b"].projector.init == "normal", "SimCLR's default, which is not that of every head"
    assert differs(run, f"{members}.b.projector.out")
    assert not differs(run, f"{members}.a.masker.ratio")
    assert differs(run, members)
    assert differs(run, "views.global.crops")
    assert not differs(run, "views.global.normalize.mean")


def test_python_is_refused_as_yaml_is() -> None:
    from sslkit import Run

    with pytest.raises(SpecError, match=r"^optimizer\.momentum: 'adamw' has no `momentum`"):
        Run(**small(optimizer={"momentum": 0.8}))
