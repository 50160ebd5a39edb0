"""The package as a third party's: built, installed beside sslkit, held against the conformance kit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from sslkit import catalog
from sslkit_shards.plugin import KINDS, sslkit_specs
from sslkit_shards.specs.webdataset import WebDataset
from tests.conftest import ROOT

PACKAGE = ROOT / "plugins" / "sslkit_shards"
PAGE = ROOT / "docs" / "shards.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Where the wheel is installed."""
    out = tmp_path_factory.mktemp("shards")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def test_the_wheel_holds_the_package_and_its_samples(site):
    inside = {path.relative_to(site / "sslkit_shards") for path in (site / "sslkit_shards").rglob("*")}
    there = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if "__pycache__" not in path.parts}
    assert inside == there - {Path("pyproject.toml")}
    (info,) = site.glob("*.dist-info")
    assert (info / "entry_points.txt").read_text().split() == [
        "[sslkit]",
        "shards",
        "=",
        "sslkit_shards.plugin",
    ]


@pytest.mark.slow
def test_the_installed_package_keeps_the_contract(site):
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", ""), str(ROOT)])
    checked = subprocess.run(
        [sys.executable, "-m", "sslkit", "plugins", "check", "sslkit-shards"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "ok    source/webdataset: has a stable fingerprint" in checked.stdout
    assert "1 left out: it reads data sets of the package datasets" in checked.stdout


def test_the_main_distribution_leaves_it_out():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert not any("shards" in package for package in packages)
    assert not any("shards" in module for module in project["project"]["entry-points"]["sslkit"].values())


def test_its_kinds_are_known_where_it_is_missing():
    its = {kind for kind, package in catalog.ELSEWHERE["source"].items() if package == "sslkit-shards"}
    assert its == set(KINDS["source"])
    assert [cls.kind_name() for cls in sslkit_specs()] == list(KINDS["source"])


def test_the_samples_are_digits():
    spec = WebDataset.example()
    train, test = spec.build("train"), spec.build("test")
    assert (len(train), len(test)) == (24, 12)
    assert train.classes == tuple("0123456789")
    assert train.labels[:10].tolist() == list(range(10))
    assert train.load(0).shape == (1, 8, 8)


def test_the_page_tells_every_field():
    section = PAGE.read_text(encoding="utf-8").partition("\n## Fields")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert named == set(WebDataset.model_fields) - {"kind"}
