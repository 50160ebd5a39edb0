"""Broken situations: each ends in exit code 2 with one readable error that names the place, and no traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from sslkit.cli.main import OK, USER_ERROR
from sslkit.evaluate.export import export
from sslkit.runs.checkpoint import FOLDER, META, STATE, Checkpoints, checksum
from sslkit.runs.seal import sealed
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call, folder, images, write
from tests.train.test_trainer import silent, stop_at

MAE = {"kind": "mae", "decoder": tiny.DECODER}
RGB = {**tiny.VIEW, "normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}


def mae(**masker):
    return {**MAE, "masker": {"kind": "random", **masker}}


def only_error(seen):
    """The one error of a command that failed, and what follows it."""
    code, out, err = seen
    assert code == USER_ERROR, (out, err)
    assert "Traceback" not in out + err
    assert "written:" not in out
    errors = [line for line in err.splitlines() if line.startswith(("error: ", "bug: "))]
    assert len(errors) == 1, err
    return err[err.index("error: ") :]


def unnamed(seen, *parts):
    """Those of `parts` that the one error of a command that failed does not name."""
    message = only_error(seen)
    return [part for part in parts if str(part) not in message]


SPECS = {
    "typo in a kind": (
        {"objective": {**MAE, "masker": {"kind": "rnadom"}}},
        ["objective.masker.kind: 'rnadom' is not a masker. Did you mean 'random'?"],
    ),
    "missing field": ({"batch_size": None}, ["batch_size: is missing. Images per step"]),
    "wrong type": (
        {"views": {"global": {**tiny.VIEW, "crops": [8, 8]}}},
        ["views.global.crops: must be a whole number, found [8, 8] (list)"],
    ),
    "unknown key": (
        {"optimizer": {"lr": 0.1, "wieght_decay": 0.1}},
        ["optimizer.wieght_decay: is not a field of OptimizerSpec. Did you mean 'weight_decay'?"],
    ),
    "lr as text": ({"optimizer": {"lr": "fast"}}, ["optimizer.lr: must be a number, found 'fast' (str)"]),
    "mask ratio 0": (
        {"objective": mae(ratio=0)},
        ["objective.masker.ratio: must be greater than 0, found 0"],
    ),
    "mask ratio 1": ({"objective": mae(ratio=1)}, ["objective.masker.ratio: must be less than 1, found 1"]),
    "mask that hides everything": (
        {"objective": mae(ratio=0.9)},
        ["masker: ratio 0.9 hides 4 of 4 patches (2 x 2); at least one must stay"],
    ),
    "patch that does not divide": (
        {"backbone": {**tiny.VIT, "patch": 3}},
        [
            "backbone.patch: patch 3 does not divide the image size 8; use an image size of 6 or 9 (view 'global')"
        ],
    ),
    "batch larger than the data": (
        {"batch_size": 2000},
        ["batch_size: 2000 is more than the 1437 training images; use at most 1437"],
    ),
    "statistics of other channels": (
        {"views": {"global": RGB}},
        ["views.global.normalize: gives statistics of 3 channels but the images have 1"],
    ),
    "unknown optimizer": (
        {"optimizer": {"name": "adamww"}},
        ["optimizer.name: timm has no optimizer 'adamww'. Did you mean 'adamw'?"],
    ),
    "unknown timm model": (
        {"backbone": {**tiny.VIT, "name": "vit_tinny_patch16_224"}},
        ["backbone.name: timm ", "has no model 'vit_tinny_patch16_224'. Did you mean 'vit_tiny_patch16_224'"],
    ),
    "block that does not exist": (
        {"readout": {"layer": 9}, "evaluate": [{"kind": "knn"}]},
        ["readout.layer: 9 does not exist; the backbone has 2 blocks"],
    ),
    "missing weights": (
        {"backbone": {**tiny.VIT, "checkpoint": "nowhere.pt"}},
        ["backbone.checkpoint: no file nowhere.pt; `sslkit export` writes one"],
    ),
    "missing folder": (
        {"data": {"kind": "folder", "root": "nowhere"}},
        ["data.root: nowhere: no such folder (looked from "],
    ),
    "more neighbors than images": (
        {"evaluate": [{"kind": "knn", "k": 5000, "baselines": True}]},
        ["evaluate.0.k: asks for 5000 neighbors, but there are only 1437 training images; give a smaller k"],
    ),
}


@pytest.mark.parametrize(("changes", "parts"), SPECS.values(), ids=SPECS.keys())
def test_specs_that_cannot_be_run(tmp_path, capsys, changes, parts):
    spec = write(tmp_path / "spec.yaml", **changes)
    seen = call(capsys, "run", spec, "--out", tmp_path / "run")
    assert unnamed(seen, *parts) == []
    assert len(only_error(seen).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["spec.yaml: cannot be read: No such file or directory. Check the path"]),
        ("name: [tiny", ["spec.yaml: line 1: not valid YAML: "]),
        ("", ["spec.yaml: is empty; a spec is a mapping of fields"]),
        ("- a\n- b\n", ["spec.yaml: a spec is a mapping of fields, found list"]),
    ],
)
def test_files_that_are_no_spec(tmp_path, capsys, content, parts):
    if content is not None:
        (tmp_path / "spec.yaml").write_text(content)
    assert unnamed(call(capsys, "run", tmp_path / "spec.yaml"), tmp_path, *parts) == []


def run_folder(tmp_path, capsys, root, **changes):
    """Run on the images in `root`, one a step."""
    fields = {"data": folder(root), "batch_size": 1, "steps": 2, **changes}
    return call(capsys, "run", write(tmp_path / "spec.yaml", **fields), "--out", tmp_path / "run")


def test_an_empty_folder(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    assert (
        unnamed(
            run_folder(tmp_path, capsys, tmp_path / "images"),
            f"data.root: {tmp_path / 'images'}: holds no image",
        )
        == []
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_with_only_a_corrupt_jpeg(tmp_path, capsys, workers):
    path = tmp_path / "images" / "only.jpg"
    path.parent.mkdir()
    Image.new("L", (32, 32)).save(path)
    path.write_bytes(path.read_bytes()[:150])
    seen = run_folder(tmp_path, capsys, path.parent, workers=workers)
    assert (
        unnamed(seen, "1 images in a row cannot be read; the first: ", f"{path}: cannot be decoded: ") == []
    )


@pytest.mark.parametrize(
    ("mode", "suffix", "channels", "wanted"),
    [("L", ".png", 3, "RGB"), ("CMYK", ".jpg", 3, "RGB"), ("RGB", ".png", 1, "L")],
)
def test_images_of_a_mode_that_may_not_be_converted(tmp_path, capsys, mode, suffix, channels, wanted):
    path = tmp_path / "images" / f"only{suffix}"
    path.parent.mkdir()
    Image.new(mode, (8, 8)).save(path)
    view = {**tiny.VIEW, "normalize": {"mean": [0.5] * channels, "std": [0.5] * channels}}
    changes = {"data": folder(path.parent, channels=channels, convert=False), "views": {"global": view}}
    assert (
        unnamed(
            run_folder(tmp_path, capsys, path.parent, **changes),
            f"{path}: is a {mode} image where {wanted} was expected (channels: {channels}); set `convert: true`",
        )
        == []
    )
    shutil.rmtree(tmp_path / "run")
    changes["data"] = folder(path.parent, channels=channels, convert=True)
    assert run_folder(tmp_path, capsys, path.parent, **changes)[0] == OK


def test_an_evaluator_on_images_without_labels_costs_no_training(tmp_path, capsys):
    root = images(tmp_path / "images", 4)
    seen = run_folder(tmp_path, capsys, root, evaluate=[{"kind": "knn"}])
    assert unnamed(seen, "evaluate.0: these images have no labels") == []
    assert not (tmp_path / "run").exists()


def test_an_evaluator_without_a_test_split(tmp_path, capsys):
    for name in ("a", "b"):
        images(tmp_path / "images" / name, 2)
    seen = run_folder(
        tmp_path, capsys, tmp_path / "images", evaluate=[{"kind": "knn", "k": 1, "baselines": True}]
    )
    assert (
        unnamed(seen, "evaluate.0: 'folder' has no test split; name one in the data or in the evaluator")
        == []
    )


@pytest.fixture
def stopped(tmp_path, monkeypatch) -> Path:
    """The folder of a run that was stopped after two checkpoints."""
    with monkeypatch.context() as patch:
        stop_at(patch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tiny.spec(tmp_path / "run"), silent)
    return tmp_path / "run"


def test_a_run_whose_checkpoints_are_all_cut_short(stopped, capsys):
    paths = Checkpoints(stopped / FOLDER).all()
    assert len(paths) == 2
    for path in paths:
        (path / STATE).write_bytes((path / STATE).read_bytes()[:1000])
    damaged = [f"{path / STATE}: is damaged or cut short" for path in paths]
    assert (
        unnamed(
            call(capsys, "resume", stopped), f"{stopped / FOLDER}: no checkpoint that can be read", *damaged
        )
        == []
    )
    assert unnamed(call(capsys, "evaluate", stopped), damaged[-1], "asked for by name: step-00000003") == []
    assert unnamed(call(capsys, "export", stopped, "--out", stopped / "a.pt"), damaged[-1]) == []


def test_a_checkpoint_of_another_run_with_the_right_checksum(stopped, tmp_path, capsys):
    train(tiny.spec(tmp_path / "wide", backbone={**tiny.VIT, "width": 32}, steps=1), silent)
    theirs = Checkpoints(tmp_path / "wide" / FOLDER).all()[-1]
    ours = Checkpoints(stopped / FOLDER).all()[-1]
    shutil.copy(theirs / STATE, ours / STATE)
    meta = json.loads((ours / META).read_text())
    (ours / META).write_text(json.dumps(sealed({**meta, "sha256": checksum(ours / STATE)})))
    for command in (
        ["resume", stopped],
        ["evaluate", stopped],
        ["export", stopped, "--out", tmp_path / "a.pt"],
    ):
        assert (
            unnamed(call(capsys, *command), f"{ours}: does not fit this run's network:", "size mismatch")
            == []
        )


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_weights_of_another_width(tmp_path, capsys, name):
    train(tiny.spec(tmp_path / "wide", backbone={**tiny.VIT, "width": 32}, steps=1), silent)
    export(tmp_path / "wide", tmp_path / name)
    backbone = {**tiny.VIT, "checkpoint": str(tmp_path / name)}
    assert (
        unnamed(
            call(capsys, "run", write(tmp_path / "spec.yaml", backbone=backbone), "--out", tmp_path / "run"),
            f"backbone.checkpoint: {tmp_path / name}, under timm's names, does not fit 'vit_tiny_patch16_224'",
            "cls_token (1 x 1 x 32 in the file, 1 x 1 x 16 in the network)",
            "patch: 4, width: 32, depth: 2",
        )
        == []
    )


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_weights_that_are_none(tmp_path, capsys, content):
    (tmp_path / "net.pt").write_bytes(content)
    backbone = {**tiny.VIT, "checkpoint": str(tmp_path / "net.pt")}
    assert (
        unnamed(
            call(capsys, "run", write(tmp_path / "spec.yaml", backbone=backbone), "--out", tmp_path / "run"),
            f"backbone.checkpoint: {tmp_path / 'net.pt'}: it is no file of weights, or a damaged one",
        )
        == []
    )


def test_a_run_into_the_folder_of_another(stopped, tmp_path, capsys):
    before = sorted(path.name for path in stopped.iterdir())
    spec = write(tmp_path / "spec.yaml", seed=99)
    assert (
        unnamed(
            call(capsys, "run", spec, "--out", stopped),
            f"{stopped}: holds a different run (its seed differs). Choose another folder with --out",
            f"`sslkit resume {stopped}`",
        )
        == []
    )
    assert sorted(path.name for path in stopped.iterdir()) == before


@pytest.mark.parametrize("name", ["spec.lock.yaml", "checkpoints"])
def test_a_damaged_run_folder(stopped, capsys, name):
    path = stopped / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("a file")
        assert unnamed(call(capsys, "evaluate", stopped), f"{path}: cannot be read: Not a directory") == []
    else:
        path.write_text("spec: {}\n")
        assert (
            unnamed(
                call(capsys, "resume", stopped),
                f"{path}: is damaged: `resolved` is missing; bring it",
            )
            == []
        )


def test_an_output_folder_that_is_a_file(tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    seen = call(capsys, "run", write(tmp_path / "spec.yaml"), "--out", tmp_path / "run")
    assert unnamed(seen, f"{tmp_path / 'run'}: could not be written: File exists") == []


def test_a_loss_that_is_not_finite(tmp_path, capsys):
    spec = write(
        tmp_path / "spec.yaml",
        optimizer={"lr": 1e30},
        steps=30,
        schedule={"warmup_epochs": 0},
        checkpoint={"every": "1 steps"},
    )
    seen = call(capsys, "run", spec, "--out", tmp_path / "run")
    assert unnamed(seen, "loss of objective 'mae' is not finite") == []
    assert re.match(r"error: step \d+: ", only_error(seen))


def test_a_disk_that_is_full(tmp_path, capsys, monkeypatch):
    def save(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    seen = call(capsys, "run", write(tmp_path / "spec.yaml", steps=2), "--out", tmp_path / "run")
    assert (
        unnamed(
            seen,
            "checkpoint of step 2 could not be written",
            "No space left on device",
            "Free some space on its disk.",
        )
        == []
    )
