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
from sslkit_audio.plugin import KINDS, sslkit_specs
from tests.conftest import ROOT

PACKAGE = ROOT / "plugins" / "sslkit_audio"
PAGE = ROOT / "docs" / "audio.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Where the wheel is installed."""
    out = tmp_path_factory.mktemp("audio")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def test_the_wheel_holds_the_package(site):
    inside = {path.relative_to(site / "sslkit_audio") for path in (site / "sslkit_audio").rglob("*")}
    there = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if "__pycache__" not in path.parts}
    assert inside == there - {Path("pyproject.toml")}
    (info,) = site.glob("*.dist-info")
    assert (info / "entry_points.txt").read_text().split() == [
        "[sslkit]",
        "audio",
        "=",
        "sslkit_audio.plugin",
    ]


@pytest.mark.slow
def test_the_installed_package_keeps_the_contract(site):
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", ""), str(ROOT)])
    checked = subprocess.run(
        [sys.executable, "-m", "sslkit", "plugins", "check", "sslkit-audio"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "ok    objective/audiomae: " in checked.stdout
    assert "ok    transform/log_mel: " in checked.stdout


def test_the_main_distribution_leaves_it_out():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert not any("audio" in package for package in packages)
    assert not any(
        "sslkit_audio" in module for module in project["project"]["entry-points"]["sslkit"].values()
    )


@pytest.mark.parametrize("family", sorted(KINDS))
def test_its_kinds_are_known_where_it_is_missing(family):
    its = {kind for kind, package in catalog.ELSEWHERE[family].items() if package == "sslkit-audio"}
    assert its == set(KINDS[family])


def test_the_hook_gives_every_kind():
    assert [cls.kind_name() for cls in sslkit_specs()] == [kind for kinds in KINDS.values() for kind in kinds]


def test_the_page_has_the_fields_of_every_kind():
    page = PAGE.read_text(encoding="utf-8")
    told = set(re.findall(r"^<!-- fields: (\w+/\w+) -->$", page, re.MULTILINE))
    assert told == {f"{family}/{kind}" for family, kinds in KINDS.items() for kind in kinds}
