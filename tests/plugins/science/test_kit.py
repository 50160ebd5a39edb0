"""The package as a third party's: built, installed beside sslkit, held against the conformance kit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sslkit import catalog
from sslkit.errors import DataError, SpecError
from sslkit.specs.load import parse
from sslkit_science import libraries
from sslkit_science.plugin import sslkit_specs
from tests.conftest import ROOT
from tests.plugins.science.sample_files import phantoms, write_samples
from tests.specs.valid import small

PACKAGE = ROOT / "plugins" / "sslkit_science"
KINDS = {cls.kind_name(): cls for cls in sslkit_specs()}
NEEDS = {
    "tiff": "tifffile",
    "dicom": "pydicom",
    "nifti": "nibabel",
    "zarr": "zarr",
    "hdf5": "h5py",
    "npy": "numpy",
}
ENDS = {"tiff": "tif", "dicom": "dcm", "nifti": "nii", "zarr": "zarr", "hdf5": "h5"}
PAGE = ROOT / "docs" / "science.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Where the wheel is installed."""
    out = tmp_path_factory.mktemp("science")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def test_the_wheel_holds_the_package_and_its_samples(site):
    inside = {path.relative_to(site / "sslkit_science") for path in (site / "sslkit_science").rglob("*")}
    there = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if "__pycache__" not in path.parts}
    assert inside == there - {Path("pyproject.toml")}
    (info,) = site.glob("*.dist-info")
    assert (info / "entry_points.txt").read_text().split() == [
        "[sslkit]",
        "science",
        "=",
        "sslkit_science.plugin",
    ]


@pytest.mark.slow
def test_the_installed_package_keeps_the_contract(site):
    for name in NEEDS.values():
        pytest.importorskip(name, reason=f"needs {name}: pip install {name}")
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", ""), str(ROOT)])
    checked = subprocess.run(
        [sys.executable, "-m", "sslkit", "plugins", "check", "sslkit-science"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for kind in KINDS:
        assert f"ok    source/{kind}: has a stable fingerprint" in checked.stdout
    assert "none left out" in checked.stdout


def test_the_main_distribution_leaves_it_out():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert not any(
        "science" in package for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    )
    assert not any("science" in module for module in project["project"]["entry-points"]["sslkit"].values())


@pytest.mark.parametrize("kind", KINDS)
def test_samples_hold_the_phantoms(kind):
    pytest.importorskip(NEEDS[kind], reason=f"needs {NEEDS[kind]}: pip install {NEEDS[kind]}")
    source = KINDS[kind].example().build("train")
    images = [source.load(i) for i in range(len(source))]
    whole = [1 if image.is_floating_point() else 65535 for image in images]
    values = np.stack([image[0].numpy() / most for image, most in zip(images, whole, strict=True)])
    np.testing.assert_allclose(values, phantoms() / 65535, atol=1e-6)


def test_samples_can_be_written_again(tmp_path):
    for name in NEEDS.values():
        pytest.importorskip(name, reason=f"needs {name}: pip install {name}")
    write_samples(tmp_path)
    names = {path.name for path in (PACKAGE / "samples").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in ("phantoms.npy", "phantoms.nii"):
        assert (tmp_path / name).read_bytes() == (PACKAGE / "samples" / name).read_bytes()


def test_a_library_that_is_missing_is_told_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        DataError, match=r"^h5py is not installed, and these images need it: pip install h5py$"
    ):
        libraries.library("h5py")
    with pytest.raises(DataError, match="pip install h5py"):
        KINDS["hdf5"].example().build("train")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"npy"}))
def test_validate_says_which_library_is_missing(monkeypatch, kind):
    data = {"kind": kind, "root": str(next((PACKAGE / "samples").glob(f"phantoms.*{ENDS[kind]}")))}
    monkeypatch.setitem(sys.modules, NEEDS[kind], None)
    with pytest.raises(
        SpecError, match=rf"data\.kind: {NEEDS[kind]} is not installed.*: pip install {NEEDS[kind]}"
    ):
        parse(small(data=data))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"npy"}))
def test_the_kit_leaves_out_what_cannot_be_read_here(monkeypatch, kind):
    assert not KINDS[kind].unchecked
    monkeypatch.setattr(KINDS[kind], "unchecked", "h5py is not installed")
    assert KINDS[kind].example() is None


def test_the_kinds_that_a_spec_without_the_distribution_names_are_its():
    """`tests/registry/test_manager.py` holds what a spec is told."""
    its = {kind for kind, package in catalog.ELSEWHERE["source"].items() if package == "sslkit-science"}
    assert its == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_tells_every_field(kind):
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition(f"\n## `{kind}`")[2].partition("\n## ")[0]
    common = text.partition("\n## Fields of every kind")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", section + common, re.MULTILINE))
    assert named == set(KINDS[kind].model_fields) - {"kind"}
