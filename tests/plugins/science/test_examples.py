"""The examples of satellite tiles, microscopy and CT: their files hold what they say, and their specs train on them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

tifffile = pytest.importorskip("tifffile", reason="needs tifffile: pip install tifffile")
pydicom = pytest.importorskip("pydicom", reason="needs pydicom: pip install pydicom")

from sslkit.cli.main import main  # noqa: E402
from sslkit.specs.load import load  # noqa: E402
from tests.conftest import ROOT  # noqa: E402

FOLDER = ROOT / "examples" / "science"
CASES = ("satellite", "cells", "ct")
SIZES = {"train": 2, "test": 1}
TINY = (
    "epochs=null", "steps=2", "batch_size=6", "backbone.width=16", "backbone.depth=1", "backbone.heads=2", "device=cpu",
    "evaluate=[{kind: knn, k: 1}]", "checkpoint.every=1000 steps", "log.figures=false", "log.flops=false",
)  # fmt: skip


def script(name: str) -> ModuleType:
    """A script of the examples as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A few files of each example, where the specs look for them."""
    folder = tmp_path_factory.mktemp("examples")
    for name in CASES:
        script(name).main(folder / "data" / name, SIZES)
    return folder


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", ["mae", "dino"])
def test_a_few_steps_of_each_spec(data, monkeypatch, capsys, name, method):
    monkeypatch.chdir(data)
    path = FOLDER / f"{name}_{method}.yaml"
    method_fields = {
        "mae": ("objective.decoder.width=16", "objective.decoder.heads=2"),
        "dino": ("objective.prototypes=8", "objective.head.hidden=16", "objective.head.bottleneck=8"),
    }[method]
    schedule = () if method == "mae" else ("schedule.warmup_epochs=0",)
    assert load(path).name == f"{name}-{method}"
    assert main(["run", str(path), *TINY, *method_fields, *schedule, "--out", f"runs/{name}-{method}"]) == 0
    assert re.search(r"step 2 +knn: accuracy [\d.]+", "".join(capsys.readouterr()))


@pytest.mark.parametrize("name", CASES)
def test_both_methods_read_the_same_images(data, monkeypatch, name):
    monkeypatch.chdir(data)
    mae, dino = (load(FOLDER / f"{name}_{method}.yaml") for method in ("mae", "dino"))
    assert mae.data == dino.data
    assert mae.views["global"].normalize == dino.views["global"].normalize == dino.views["local"].normalize
    train, test = (mae.data.build(split) for split in ("train", "test"))
    assert train.classes == test.classes == tuple(sorted(script(name).CLASSES))
    assert train.channels == len(mae.views["global"].normalize.mean)
    assert {train.load(i).dtype.is_floating_point for i in range(len(train))} == {True}
    assert not set(map(bytes, train.digests())) & set(map(bytes, test.digests()))


@pytest.mark.parametrize("name", CASES)
def test_files_are_the_same_every_time(data, tmp_path, name):
    script(name).main(tmp_path, SIZES)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert files
    for file in files:
        read = pydicom.dcmread if file.suffix == ".dcm" else tifffile.imread
        once, again = read(tmp_path / file), read(data / "data" / name / file)
        pixels = [getattr(one, "pixel_array", one) for one in (once, again)]
        np.testing.assert_array_equal(*pixels)


def test_bands_of_tiles_go_by_their_names(data, monkeypatch):
    monkeypatch.chdir(data)
    spec = load(FOLDER / "satellite_mae.yaml").data
    whole = spec.build("train").load(0)
    some = spec.model_copy(update={"bands": ("B04", "B03", "B02")}).build("train").load(0)
    np.testing.assert_array_equal(some.numpy(), whole[[3, 2, 1]].numpy())
    raw = tifffile.imread(data / "data/satellite/train/crops/000.tif")
    np.testing.assert_allclose(whole.numpy(), (raw / spec.range[1]).clip(0, 1).transpose(2, 0, 1), atol=1e-6)


def test_slices_lie_in_order_and_in_hounsfield_units(data, monkeypatch):
    monkeypatch.chdir(data)
    spec = load(FOLDER / "ct_mae.yaml").data
    source = spec.build("train")
    names = [source.name(i) for i in range(len(source))]
    first = [pydicom.dcmread(data / "data/ct/train" / name) for name in names[:5]]
    assert [file.InstanceNumber for file in first] == [5, 4, 3, 2, 1], "from below, as they lie in the body"
    low, high = spec.range
    units = first[0].pixel_array.astype(np.float64) - 1024
    assert units.min() >= -1024
    np.testing.assert_allclose(
        source.load(0)[0].numpy(), ((units - low) / (high - low)).clip(0, 1), atol=1e-6
    )
