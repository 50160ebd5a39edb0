"""Faults of images by kind."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.analysis.image_data import image_faults as module
from sslkit.analysis.image_data.image_faults import KINDS, as_json, check_images, too_many
from sslkit.analysis.image_data.reading_bar import ReadingBar
from sslkit.analysis.image_data.survey import IMAGES
from tests.analysis.image_data.samples import arrays, fields, save
from tests.fakes_train import MadeSource, pictures


def folder(tmp_path, images=None):
    return save(tmp_path / "images", arrays(12, sizes=((12, 20),)) if images is None else images)


def names(results, kind, split="train"):
    return [fault.name for fault in results[split].faults.get(kind, ())]


def test_sound_images_have_no_faults(tmp_path):
    results = check_images(fields(folder(tmp_path)))
    assert results == {"train": (12, 12, {}, None)}
    assert list(too_many(results, 0.0)) == []


def test_files_that_are_no_image_or_too_large_or_of_other_channels(tmp_path):
    root = folder(tmp_path)
    (root / "class0" / "000.png").write_bytes(b"no image")
    (root / "class1" / "001.png").write_bytes((root / "class1" / "003.png").read_bytes()[:90])
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(root / "class1" / "005.png")
    spec = fields(root)
    data = {**spec.data.model_dump(), "max_pixels": 1000}
    results = check_images(spec.model_validate({**spec.model_dump(), "data": data}))
    assert names(results, "unreadable") == ["class0/000.png", "class1/001.png"]
    assert names(results, "too large") == ["class1/005.png"]
    results = check_images(
        spec.model_validate({**spec.model_dump(), "data": {**data, "convert": False, "max_pixels": 9999}})
    )
    assert names(results, "wrong channels or type") == ["class1/005.png"]
    assert results["train"].unreadable == 3


def test_constant_gray_and_odd_images(tmp_path):
    images = arrays(20, sizes=((12, 20),))
    images[3][:] = (1, 2, 3)
    images[5][..., 1:] = images[5][..., :1]
    images[7] = arrays(1, sizes=((20, 12),))[0]
    images[9][0, 0] = 255
    results = check_images(fields(folder(tmp_path, images)))
    assert names(results, "constant") == ["class1/003.png"]
    assert names(results, "gray") == ["class1/005.png"]
    assert results["train"].faults["odd size"] == [("class1/007.png", "20 x 12; most are 12 x 20")]
    assert set(results["train"].faults) == {"constant", "gray", "odd size"}


def test_where_sizes_differ_only_very_long_images_are_odd(tmp_path):
    images = arrays(9, sizes=((12, 20), (9, 9), (31, 5)))
    images[4] = arrays(1, sizes=((3, 40),))[0]
    results = check_images(fields(folder(tmp_path, images)))
    assert results["train"].faults == {"odd size": [("class0/004.png", "3 x 40")]}


def test_gray_images_of_one_channel_are_no_fault(monkeypatch):
    monkeypatch.setattr(module, "splits", lambda spec: {"train": MadeSource(pictures(3))})
    assert check_images(fields(".", data={"kind": "digits"}))["train"].faults == {}


def test_what_a_source_of_a_plugin_gives_is_held_against_what_it_promises(monkeypatch):
    source = MadeSource(torch.rand(3, 2, 4, 4), labels=torch.tensor([0, 0, 2]))
    source.images[1, 0, 0, 0] = 2.0
    load = source.load
    monkeypatch.setattr(source, "load", lambda index: load(index)[:1] if index == 2 else load(index))
    monkeypatch.setattr(module, "splits", lambda spec: {"train": source})
    faults = check_images(fields(".", data={"kind": "digits"}))["train"].faults
    assert {kind: [fault.name for fault in some] for kind, some in faults.items()} == {
        "wrong channels or type": ["2"], "outside 0 to 1": ["1"], "empty class": ["1"],
    }  # fmt: skip
    assert set(faults) <= set(KINDS)


def test_every_split_is_read_and_its_empty_classes_are_named(tmp_path):
    test = save(tmp_path / "test", arrays(3), classes=1)
    (test / "class0" / "001.png").write_bytes(b"")
    results = check_images(fields(folder(tmp_path), test))
    assert results["train"].faults == {}
    assert names(results, "unreadable", "test") == ["class0/001.png"]
    assert names(results, "empty class", "test") == ["class1"]


def test_too_many_are_those_past_the_share_of_the_spec(tmp_path):
    root = folder(tmp_path)
    for name in ("000.png", "002.png", "004.png"):
        (root / "class0" / name).write_bytes(b"")
    results = check_images(fields(root))
    assert list(too_many(results, 0.25)) == []
    (line,) = too_many(results, 0.2)
    assert line.startswith("data: 3 of 12 train images cannot be read, more than max_corrupt=0.2; ")


def test_workers_and_samples(tmp_path):
    root = save(tmp_path / "images", arrays(3 * IMAGES))
    (root / "class0" / "000.png").write_bytes(b"")
    assert check_images(fields(root, workers=2)) == check_images(fields(root))
    assert check_images(fields(root), 7)["train"].read == 7


def test_a_signal_ends_it_with_the_faults_so_far(tmp_path, monkeypatch):
    root = save(tmp_path / "images", arrays(2 * IMAGES))
    monkeypatch.setattr(ReadingBar, "update", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    results = check_images(fields(root, root), bar=ReadingBar("checking"))
    assert results["train"][1:] == (IMAGES, {}, "SIGINT")
    assert "test" not in results


@pytest.mark.parametrize("count", [0, 2])
def test_json_lists_every_fault(tmp_path, count):
    root = folder(tmp_path)
    for i in range(count):
        (root / "class0" / f"00{2 * i}.png").write_bytes(b"")
    data = as_json(check_images(fields(root)))["train"]
    assert (data["images"], data["read"], data["unreadable"], data["stopped_by"]) == (12, 12, count, None)
    assert [fault["name"] for fault in data["faults"].get("unreadable", [])] == [
        f"class0/00{2 * i}.png" for i in range(count)
    ]
