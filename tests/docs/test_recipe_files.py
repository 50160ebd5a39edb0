"""Recipes by the number of images: each is a spec that can be run, with the guard on, and is on the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.cli.main import main
from sslkit.specs.load import load
from tests.conftest import ROOT

FILES = sorted((ROOT / "examples" / "recipes").glob("*.yaml"))
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
MACHINES = {"": "one core", "_gpu": "one GPU"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of two classes: enough for a batch and for the neighbors that vote."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 2)):
        for name in ("cats", "dogs"):
            (folder / "images" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "images" / split / name / f"{i}.png")
    return folder


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_is_a_spec_that_can_begin(path, photos, monkeypatch, capsys):
    """`validate`, and with `--data` all that is built before the first step."""
    monkeypatch.chdir(photos)
    assert main(["validate", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"ok: {path.stem.replace('_', '-')}\n")
    assert main(["validate", str(path), "--data", "batch_size=8"]) == 0, capsys.readouterr().err
    assert "24 of 3 channels, 2 classes" in capsys.readouterr().out


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_fits_its_number_of_images(path, photos, monkeypatch):
    monkeypatch.chdir(photos)
    spec = load(path)
    number, machine = re.fullmatch(r"images_(\d+)((?:_gpu)?)", path.stem).groups()
    assert spec.batch_size <= int(number)
    assert spec.log.collapse == "stop"
    assert [one.kind for one in spec.evaluate] == ["knn"]
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"# About {int(number):,} images and {MACHINES[machine]}: ")


def test_every_recipe_is_on_the_page_and_every_file_of_the_page_is_there():
    named = set(re.findall(r"`(images_\w+\.yaml)`", PAGE))
    assert named == {path.name for path in FILES}
    assert "(collapse.md" in PAGE
