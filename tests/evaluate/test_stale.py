"""Kept features are never those of other images, labels or networks."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sslkit.evaluate import evaluate_network as evaluating
from sslkit.evaluate.evaluate_network import evaluate_spec
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.load import parse_as
from tests.plugins.sources.test_parquet import picture

VIT = {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 4, "width": 16, "depth": 2, "heads": 2}


def bitmaps(root, classes, count=8, seed=0):
    """Class folders of uncompressed images: class `i` is around gray level `classes[i]`."""
    random = np.random.default_rng(seed)
    for name, level in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.integers(level, level + 40, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.bmp")
    return root


def accuracy(tmp_path, data, keep=True, **changes):
    fields = {
        "backbone": VIT, "size": 8, "data": data, "evaluate": [{"kind": "knn", "k": 1}],
        "out": tmp_path / "out", "workers": 0, "device": "cpu",
    }  # fmt: skip
    result = evaluate_spec(parse_as(EvaluationSpec, {**fields, **changes}), keep=keep)
    return result["metrics"]["knn"]["accuracy"]


@pytest.fixture
def folders(tmp_path):
    """Training images, and two test folders with the same names and sizes: one right, one with its classes inverted."""
    train = bitmaps(tmp_path / "train", {"dark": 0, "light": 200}, seed=1)
    right = bitmaps(tmp_path / "right", {"dark": 0, "light": 200})
    wrong = bitmaps(tmp_path / "wrong", {"dark": 200, "light": 0})
    assert {p.stat().st_size for p in right.rglob("*.bmp")} == {
        p.stat().st_size for p in wrong.rglob("*.bmp")
    }
    return {"kind": "folder", "root": train}, right, wrong


def test_another_folder_of_the_same_names_and_sizes(folders, tmp_path):
    data, right, wrong = folders
    assert accuracy(tmp_path, {**data, "test": right}) == 1
    assert (
        accuracy(tmp_path, {**data, "test": wrong}) == accuracy(tmp_path, {**data, "test": wrong}, False) == 0
    )


def test_the_same_folder_with_other_images_of_the_same_sizes(folders, tmp_path):
    data, right, wrong = folders
    assert accuracy(tmp_path, {**data, "test": right}) == 1
    for path in wrong.rglob("*.bmp"):
        shutil.copy(path, right / path.relative_to(wrong))
    assert accuracy(tmp_path, {**data, "test": right}) == 0


def test_a_parquet_file_with_other_labels_of_equal_length(tmp_path):
    first = {"train": 0, "test": 20}
    rows = {
        name: [picture(level) for level in (*range(i, i + 20), *range(i + 200, i + 220))]
        for name, i in first.items()
    }
    labels = [0] * 20 + [1] * 20
    mixed = [int(i) for i in np.random.default_rng(0).permutation(labels)]
    for name in ("train", "test"):
        pq.write_table(pa.table({"image": rows[name], "label": labels}), tmp_path / f"{name}.parquet")
    data = {"kind": "parquet", "files": tmp_path / "train.parquet", "test": tmp_path / "test.parquet"}
    assert accuracy(tmp_path, data) == 1
    pq.write_table(pa.table({"image": rows["test"], "label": mixed}), tmp_path / "test.parquet")
    expected = np.mean(np.array(mixed) == labels)
    assert accuracy(tmp_path, data) == accuracy(tmp_path, data, keep=False) == pytest.approx(expected)


def kept(tmp_path):
    return len(list((tmp_path / "out" / "features").glob("*.npz")))


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"act_layer": "relu"}},
        {"arguments": {"global_pool": "max"}},
    ],
    ids=lambda change: next(iter(change["arguments"])),
)
def test_another_network_of_the_same_weights(folders, tmp_path, change):
    """Weights say nothing about activations."""
    data, right, _ = folders
    data = {**data, "test": right}
    timm = {"kind": "timm", "name": "test_vit", "arguments": {"img_size": 16}}
    accuracy(tmp_path, data, backbone=timm, size=16)
    assert kept(tmp_path) == 2
    changed = {**timm, "arguments": {**timm["arguments"], **change["arguments"]}}
    accuracy(tmp_path, data, backbone=changed, size=16)
    assert kept(tmp_path) == 4
    accuracy(tmp_path, data, backbone=changed, size=16)
    assert kept(tmp_path) == 4, "the same is found again"


def test_other_versions_make_their_own_features(folders, tmp_path, monkeypatch):
    data, right, _ = folders
    accuracy(tmp_path, {**data, "test": right})
    versions = evaluating.package_versions()
    monkeypatch.setattr(evaluating, "package_versions", lambda: {**versions, "torch": "99.0"})
    accuracy(tmp_path, {**data, "test": right})
    assert kept(tmp_path) == 4
