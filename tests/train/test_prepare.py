"""What is known before the first step: told at once, by `run`, `fit` and `validate --data`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from sslkit import Run
from sslkit.cli.main import OK, USER_ERROR, main
from sslkit.errors import DataError, SpecError
from sslkit.nn.sincos import sincos_positions
from sslkit.runtime.parallel import Single
from sslkit.specs.check import too_few_on_a_rank
from sslkit.specs.run import RunSpec
from sslkit.train.launch import train
from sslkit.train.prepare import prepare
from sslkit.train.unused_when_built import ignored_by_timm
from sslkit_backbones.vit_initialization import is_sincos
from tests import tiny

FIELDS = {
    "batch_size": 2000,
    "backbone": {**tiny.VIT, "depth": None, "name": "vit_tiny_patch16_224"},
    "readout": {"layer": 12},
    "optimizer": {"name": "lamb", "momentum": 0.8},
    "evaluate": [
        {"kind": "knn", "k": 5000},
        {"kind": "concept"},
        {"kind": "probing", "name": "deep", "attributes": ["hue"]},
    ],
}
LINES = [
    r"batch_size: 2000 is more than the 1437 training images; use at most 1437",
    r"readout\.layer: 12 does not exist; the backbone has 12 blocks, from 0",
    r"evaluate\.0\.k: asks for 5000 neighbors, but there are only 1437 training images; give a smaller k",
    r"evaluate\.1: 'concept' needs attributes of images, which the train images lack; .*",
    r"evaluate\.1: 'concept' needs attributes of images, which the test images lack; .*",
    r"evaluate\.2\.attributes: probing needs the attribute 'hue', which the train images lack; .*",
]


def says(lines: list[str]) -> str:
    return f"^{chr(10).join(lines)}$"


def test_everything_is_told_at_once_and_before_anything_is_written(tmp_path: Path) -> None:
    run = tiny.spec(tmp_path / "run", **FIELDS)
    with pytest.raises(SpecError, match=says(LINES)):
        train(run, lambda text: None)
    assert not (tmp_path / "run").exists()
    with pytest.raises(SpecError, match=says(LINES)):
        Run(**tiny.fields(tmp_path / "run", **FIELDS)).fit()


def test_validate_says_it_with_the_data_and_only_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(tiny.fields(**FIELDS)), encoding="utf-8")
    assert main(["validate", str(path)]) == OK
    capsys.readouterr()
    assert main(["validate", str(path), "--data"]) == USER_ERROR
    printed, err = capsys.readouterr()
    assert printed == ""
    assert re.fullmatch("error: " + "\n".join(LINES) + "\n", err)


def test_validate_with_data_sums_the_images_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(tiny.fields(nets={"ema": {}})), encoding="utf-8")
    assert main(["validate", "--data", str(path)]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert "  images     1,437 of 1 channels, 10 classes" in lines
    assert "  steps      8 (44 an epoch)" in lines
    assert lines[-1].startswith("note: nets.ema: nothing reads this net while the run trains.")


def test_a_run_tells_its_notes(tmp_path: Path) -> None:
    heard: list[str] = []
    train(tiny.spec(tmp_path, steps=1, compile={"enabled": False, "mode": "max-autotune"}), heard.append)
    assert "note: compile.mode: has no effect, as `compile.enabled` is false" in heard


def test_random_numbers_are_those_of_a_run_without_the_checks() -> None:
    run = tiny.spec(evaluate=[{"kind": "linear"}, {"kind": "finetune"}])
    one = prepare(run, tiny.CPU).composed(run, tiny.CPU)
    drawn = torch.rand(3)
    two, _ = tiny.steps(run, 0)
    assert torch.equal(drawn, torch.rand(3))
    assert tiny.same(one, two)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": {"name": "lamb", "momentum": 0.8}},
            "optimizer.momentum: 'lamb' has no `momentum`",
        ),
        (
            {"optimizer": {"name": "adan", "betas": [0.5, 0.9]}},
            "optimizer.betas: 'adan' has no pair of `betas`",
        ),
        ({"optimizer": {"name": "lion", "eps": 1e-3}}, "optimizer.eps: 'lion' has no `eps`"),
        ({"optimizer": {"name": "adamv"}}, "optimizer.name: timm has no optimizer 'adamv'"),
        (
            {"optimizer": {"no_decay": ["pos_embedding"]}},
            "optimizer.no_decay: no parameter that is trained has a name that ends with 'pos_embedding'",
        ),
        (
            {"nets": {"ema": {"batch_norm": "average"}}, "readout": {"net": "ema"}},
            "nets.ema.batch_norm: has no effect, as the backbone has no batch norm",
        ),
        (
            {
                "evaluate": [
                    {"kind": "geometry", "split": "train", "test": {"kind": "digits", "test_share": 0.5}}
                ]
            },
            "evaluate.0.test: 'geometry' reads the train split only",
        ),
        (
            {
                "evaluate": [
                    {
                        "kind": "geometry",
                        "train": {"kind": "digits"},
                        "test": {"kind": "digits", "test_share": 0.5},
                    }
                ]
            },
            "evaluate.0.train: 'geometry' reads the test split only",
        ),
    ],
)
def test_what_only_built_parts_tell_is_refused_before_the_first_step(changes: dict, message: str) -> None:
    with pytest.raises(SpecError, match=f"^{re.escape(message)}"):
        prepare(tiny.spec(**changes), tiny.CPU)


def test_a_run_that_goes_on_is_not_refused_for_a_field_without_effect() -> None:
    spec = tiny.spec(optimizer={"name": "lamb", "momentum": 0.8})
    assert prepare(spec, tiny.CPU, began=True).length.steps > 0


def test_timm_is_asked_about_its_own_optimizers_only() -> None:
    for name in ("adamw", "lars", "nothing"):
        assert list(ignored_by_timm(tiny.spec(optimizer={"name": name}).optimizer)) == []


def _exported(tmp_path: Path, positions: str) -> Path:
    run = tiny.spec(backbone={**tiny.VIT, "positions": positions})
    net = prepare(run, tiny.CPU).system.nets["student"]
    path = tmp_path / f"{positions}.safetensors"
    save_file({name: value.clone() for name, value in net.export().state.items()}, path)
    return path


def test_learned_positions_are_not_frozen_by_a_default(tmp_path: Path) -> None:
    path = _exported(tmp_path, "learned")
    for positions in ({}, {"positions": "sincos"}):
        run = tiny.spec(backbone={**tiny.VIT, **positions, "checkpoint": str(path)})
        with pytest.raises(
            SpecError, match=r"^backbone\.positions: 'sincos' never changes, but .* holds learned"
        ):
            prepare(run, tiny.CPU)
    learned = tiny.spec(backbone={**tiny.VIT, "positions": "learned", "checkpoint": str(path)})
    net = prepare(learned, tiny.CPU).system.nets["student"]
    assert net.net.pos_embed.requires_grad
    assert torch.equal(net.net.pos_embed, load_file(path)["pos_embed"])


def test_fixed_positions_of_a_file_stay_fixed_at_any_size_and_frozen_nets_take_any(tmp_path: Path) -> None:
    fixed = {**tiny.VIT, "checkpoint": str(_exported(tmp_path, "sincos"))}
    views = {"global": {**tiny.VIEW, "size": 16}}
    assert (
        not prepare(tiny.spec(backbone=fixed, views=views), tiny.CPU)
        .system.nets["student"]
        .net.pos_embed.requires_grad
    )
    wise = {"backbone": {**tiny.VIT, "checkpoint": str(_exported(tmp_path, "learned"))}}
    prepare(tiny.spec(nets={"wise": wise}, readout={"net": "wise"}), tiny.CPU)


def test_tables_are_known_as_sincos_behind_any_tokens_and_in_both_orders() -> None:
    table = sincos_positions(16, 3, 3)
    behind = torch.cat([torch.zeros(5, 16), table])
    assert all(is_sincos(one[None].float()) for one in (table, behind, table.roll(8, dims=1)))
    assert not is_sincos(torch.randn(1, 10, 16))
    assert not is_sincos((table + 0.01)[None])


def pictures(root: Path, classes: dict[str, int]) -> Path:
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("L", (8, 8), 20 * i).save(root / name / f"{i}.png")
    return root


def folder(tmp_path: Path, train: dict[str, int], test: dict[str, int], **more: object) -> dict[str, object]:
    root, held = pictures(tmp_path / "train", train), pictures(tmp_path / "test", test)
    return {"kind": "folder", "root": str(root), "test": str(held), "channels": 1, **more}


CASES = [
    ({"kind": "knn", "k": 5}, "evaluate.0.k: asks for 5 neighbors, but there are only 4 training images"),
    ({"kind": "linear"}, None),
    ({"kind": "geometry", "split": "train", "neighbours": 4}, "evaluate.0.neighbours: 4 neighbours are asked for"),
    ({"kind": "geometry"}, "evaluate.0: the test split has 3 images; geometry needs at least 4"),
    ({"kind": "geometry", "split": "train", "neighbours": 2, "clusters": 4}, "evaluate.0.clusters: 4 clusters of 4"),
    ({"kind": "finetune", "epochs": 9, "accumulate": 4}, "evaluate.0.batch_size: fine-tuning needs at least 8"),
    ({"kind": "dense", "layer": 2}, "evaluate.0.layer: block 2 does not exist; the network has 2, from 0"),
    ({"kind": "probing", "layers": [0, 5]}, "evaluate.0.layers: block 5 does not exist; the network has 2, from 0"),
    ({"kind": "concept"}, "evaluate.0: 'concept' needs attributes of images, which the train images lack"),
]  # fmt: skip


@pytest.mark.parametrize(("evaluator", "message"), CASES)
def test_protocols_that_could_not_be_scored_are_refused(
    tmp_path: Path, evaluator: dict, message: str | None
) -> None:
    data = folder(tmp_path, {"a": 2, "b": 2}, {"a": 2, "b": 1})
    run = tiny.spec(data=data, batch_size=4, evaluate=[evaluator])
    if message is None:
        prepare(run, tiny.CPU)
        return
    with pytest.raises((SpecError, DataError)) as caught:
        prepare(run, tiny.CPU)
    assert any(line.startswith(message) for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    "kind", ["knn", "linear", "logistic", "lowshot", "retrieval", "robustness", "finetune", "peft"]
)
def test_a_test_class_that_training_lacks_is_told_before(tmp_path: Path, kind: str) -> None:
    data = folder(tmp_path / "own", {"a": 4, "b": 4}, {"a": 2, "b": 2})
    other = folder(tmp_path / "other", {"a": 4, "c": 4}, {"a": 2, "c": 2})
    run = tiny.spec(data=data, batch_size=4, evaluate=[{"kind": kind, "train": data, "test": other}])
    with pytest.raises(
        DataError, match=r"(?m)^evaluate\.0: train has 2 classes and test 2; in only one of them: b, c\."
    ):
        prepare(run, tiny.CPU)


def test_no_image_of_a_class_that_could_be_found_or_held_out(tmp_path: Path) -> None:
    data = folder(tmp_path, {"a": 1, "b": 1}, {"a": 1, "b": 1})
    evaluators = [{"kind": "retrieval", "gallery": "test"}, {"kind": "linear"}, {"kind": "logistic"}]
    with pytest.raises((SpecError, DataError)) as caught:
        prepare(tiny.spec(data=data, batch_size=2, evaluate=evaluators), tiny.CPU)
    paths = [line.partition(": ")[0] for line in str(caught.value).splitlines()]
    assert paths == ["evaluate.0.gallery", "evaluate.1.holdout", "evaluate.2.holdout"]
    prepare(tiny.spec(data=data, batch_size=2, evaluate=[{"kind": "logistic", "strengths": [1.0]}]), tiny.CPU)


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        ({"kind": "finetune", "drop_path": 0}, "evaluate.0.layer_decay: "),
        (
            {"kind": "peft"},
            "evaluate.0.targets: CNNBackbone has no blocks of attention and MLP to adapt",
        ),
        ({"kind": "peft", "method": "adapter"}, "evaluate.0.method: CNNBackbone has no blocks"),
    ],
)
def test_networks_that_cannot_be_tuned_are_refused_before_they_train(evaluator: dict, message: str) -> None:
    views = {"global": {**tiny.VIEW, "size": 32, "crops": 2}}
    run = tiny.spec(
        backbone={"kind": "cnn", "name": "test_resnet"},
        views=views,
        objective={"kind": "vicreg"},
        evaluate=[evaluator],
    )
    with pytest.raises(SpecError, match=f"(?m)^{re.escape(message)}"):
        prepare(run, tiny.CPU)


def test_what_compares_the_images_of_a_rank_needs_enough_on_each_of_the_ranks_there_are() -> None:
    def run(batch: int, **fields: object) -> RunSpec:
        views = {"global": {**tiny.VIEW, "crops": 2}}
        return tiny.spec(batch_size=batch, views=views, objective={"kind": "infonce", **fields})

    two = Single(torch.device("cpu"))
    two.world = 2
    message = (
        "objective: compares the images of a rank with each other, so it needs at least 2 on each, found 1 "
        "(2 on 2 ranks); raise `batch_size`, or use fewer ranks"
    )
    with pytest.raises(SpecError, match=re.escape(message)):
        prepare(run(2, gather="none"), two)
    assert not list(too_few_on_a_rank(run(2, gather="none"), 1))
    assert not list(too_few_on_a_rank(run(4, gather="none"), 2))
    assert not list(too_few_on_a_rank(run(2), 2))
    assert not list(too_few_on_a_rank(run(2, gather="none", queue=8), 2))
