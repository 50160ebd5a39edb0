"""The wheel and the source distribution hold what they should and nothing stray."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = {
    PurePosixPath(place).name: place
    for place in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
}
"""Package of the wheel -> where it stands in the repository."""
KINDS = {".py", ".pyi", ".typed", ".tmpl", ".css", ".js"}
"""Ends of the files of a package."""
EXAMPLES = "sslkit/examples"
"""Where the wheel has the folder `examples`, for `sslkit examples`."""
METADATA = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
TOP = {
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "PKG-INFO", "README.md", "SECURITY.md", "benchmarks", "docs",
    "examples", "mkdocs.yml", "plugins", "pyproject.toml", "sslkit", "tests", ".gitignore",
}  # fmt: skip
"""What the source distribution has at its top: all that it takes to build, test and document."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(names in the wheel, names in the source distribution without its folder)."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", out], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = archive.namelist()
    with tarfile.open(source) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
    assert all(member.isfile() for member in members), "no links"
    return in_wheel, [member.name.partition("/")[2] for member in members]


def tracked() -> set[str]:
    """The files that git knows, that are there."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a repository")
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_the_wheel_holds_the_packages_and_nothing_else(built):
    names = Counter(built[0])
    assert max(names.values()) == 1
    info = {name.partition("/")[2] for name in names if name.split("/")[0].endswith(".dist-info")}
    assert info == METADATA
    inside = [name for name in names if not name.split("/")[0].endswith(".dist-info")]
    examples = {name.removeprefix("sslkit/") for name in inside if name.startswith(f"{EXAMPLES}/")}
    assert examples == {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "examples").rglob("*.*")
        if path.suffix in {".yaml", ".py", ".ipynb"}
    }
    inside = [name for name in inside if not name.startswith(f"{EXAMPLES}/")]
    assert {name.split("/")[0] for name in inside} == set(PACKAGES)
    assert {PurePosixPath(name).suffix for name in inside} <= KINDS
    there = {f"{package}/{path.relative_to(ROOT / place).as_posix()}" for package, place in PACKAGES.items()
             for path in (ROOT / place).rglob("*") if path.suffix in KINDS}  # fmt: skip
    assert set(inside) == there


def test_what_is_packed_is_in_the_repository(built):
    in_wheel, in_source = built
    committed = tracked()
    places = {
        name: name.removeprefix("sslkit/")
        if name.startswith(f"{EXAMPLES}/")
        else f"{PACKAGES.get(name.split('/')[0], '')}/{name.partition('/')[2]}"
        for name in in_wheel
    }
    stray = [name for name, place in places.items() if ".dist-info/" not in name and place not in committed]
    assert stray == []
    assert [name for name in in_source if name not in committed and name != "PKG-INFO"] == []


def test_the_source_distribution_holds_what_builds_tests_and_documents(built):
    _, in_source = built
    assert {name.split("/")[0] for name in in_source} == TOP
    assert not [
        name
        for name in in_source
        if re.search(r"(^|/)(runs/(?!\w)|__pycache__|\..*_cache|dist)/|\.py[co]$", name)
    ]


def test_no_file_names_a_registry():
    """Which one is used is for the machine that installs or publishes to say."""
    hosts = re.compile(r"pypi\.org|pythonhosted\.org|--(extra-)?index-url|anaconda\.org")
    here = Path(__file__).resolve().relative_to(ROOT).as_posix()
    texts = {
        name
        for name in tracked()
        if PurePosixPath(name).suffix not in {".npz", ".pt", ".png", ".safetensors"}
    }
    named = [
        n
        for n in sorted(texts - {here})
        if hosts.search((ROOT / n).read_text(encoding="utf-8", errors="ignore"))
    ]
    assert named == []
