"""`sslkit plugins new`: what it writes installs, passes its own tests, and runs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslkit.cli.main import main
from sslkit.errors import PluginError
from sslkit.specs.families import FAMILIES
from sslkit.testing import scaffold
from sslkit.testing.scaffold import new_plugin

INSTALL = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--target")
RUNS = """
import json
from pathlib import Path

import pytest
from sslkit.cli.main import main

QUIET = ("log.every=1", "log.flops=false", "log.figures=false")
SMALL = ("steps=2", "device=cpu", "compile.enabled=false", "workers=0", *QUIET)


@pytest.mark.parametrize("folder", Path(__file__).parent.glob("sslkit-*-*"), ids=lambda path: path.name)
def test_its_run(folder, tmp_path):
    assert main(["run", str(folder / "spec.yaml"), *SMALL, "--out", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["finished"]
    assert summary["step"] == 2
    assert 0 < summary["metrics"]["loss"] < 100
"""
"""A test of the specs, in the process that runs the plugins' own tests: importing torch takes long."""
WHEELS = """
import os, sys
from hatchling.build import build_wheel

for folder in sys.argv[2:]:
    os.chdir(folder)
    build_wheel(sys.argv[1])
"""
"""Builds what pip would, in one process where pip starts three for each."""


def command(*words: str, cwd: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with `site` on its path."""
    path = os.pathsep.join(filter(None, [site and str(site), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_new_plugins_install_keep_the_contract_and_run(tmp_path):
    """One of each family, in one process: each imports torch, and so do the two ranks that its kit starts."""
    folders = [new_plugin(f"sslkit-new-{family}", tmp_path, family) for family in FAMILIES]
    command("-m", "ruff", "check", "--no-cache", ".", cwd=tmp_path)
    command("-m", "ruff", "format", "--no-cache", "--check", ".", cwd=tmp_path)
    site, wheels = tmp_path / "site", tmp_path / "wheels"
    wheels.mkdir()
    command("-c", WHEELS, str(wheels), *map(str, folders[1:]), cwd=tmp_path)
    sources = [folders[0], *wheels.iterdir()]  # one as its author installs it
    assert len(sources) == len(FAMILIES)
    command("-m", "pip", "install", "-q", *INSTALL, str(site), *map(str, sources), cwd=tmp_path)
    (tmp_path / "test_runs.py").write_text(RUNS)
    paths = ("test_runs.py", *(f"{folder.name}/tests" for folder in folders))
    options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir=.")
    tested = command("-m", "pytest", *options, *paths, cwd=tmp_path, site=site).stdout
    assert "passed" in tested
    assert "skipped" not in tested


def test_every_family_can_be_begun():
    assert FAMILIES.keys() == scaffold.EXAMPLES.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_plugin_imports_the_two_doors_and_little_of_them(family, tmp_path):
    folder = new_plugin("sslkit-new", tmp_path, family)
    trees = {path.name: ast.parse(path.read_text()) for path in folder.rglob("*.py")}
    froms = [(n, node) for n, t in trees.items() for node in ast.walk(t) if isinstance(node, ast.ImportFrom)]
    modules = {node.module for _, node in froms if node.module.startswith("sslkit.")}
    assert modules <= {"sslkit.plugin", "sslkit.interfaces", "sslkit.testing"}
    names = {
        alias.name
        for file, node in froms
        if node.module in ("sslkit.plugin", "sslkit.interfaces") and file in ("specs.py", "new.py")
        for alias in node.names
    }
    types_of_fields = {"ViewName"}
    assert len(names - types_of_fields) <= (6 if family == "objective" else 12), names


def test_an_objective_needs_two_methods(tmp_path):
    package = new_plugin("sslkit-new", tmp_path, "objective") / "src" / "sslkit_new"
    files = [ast.parse((package / name).read_text()) for name in ("specs.py", "new.py")]
    methods = [node.name for tree in files for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert methods == ["build", "__init__", "forward"]


def test_the_command_says_how_to_go_on(tmp_path, capsys):
    assert main(["plugins", "new", "Sslkit-shapes.v2", "--dir", str(tmp_path / "deep")]) == 0
    folder, printed = tmp_path / "deep" / "Sslkit-shapes.v2", capsys.readouterr().out
    assert f"written: {folder}, a plugin with the target 'shapes_v2'" in printed
    assert "sslkit plugins check Sslkit-shapes.v2" in printed
    assert "class ShapesV2Edges(TargetSpec)" in (folder / "src/sslkit_shapes_v2/specs.py").read_text()


def test_every_family_that_can_be_begun_has_a_template():
    assert {path.name for path in scaffold.TEMPLATE.iterdir()} == {scaffold.COMMON, *scaffold.EXAMPLES}
    assert scaffold.EXAMPLES.keys() <= FAMILIES.keys()


def test_names_follow_from_the_distribution(tmp_path):
    folder = new_plugin("sslkit-shapes", tmp_path)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        ".github/workflows/check.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "spec.yaml",
        "src/sslkit_shapes/__init__.py",
        "src/sslkit_shapes/plugin.py",
        "src/sslkit_shapes/shapes.py",
        "src/sslkit_shapes/specs.py",
        "tests/test_plugin.py",
    }
    text = "".join((folder / file).read_text() for file in files)
    assert text.count("$") == text.count("${{ matrix.python }}") == 1
    assert 'shapes = "sslkit_shapes.plugin"' in (folder / "pyproject.toml").read_text()
    assert "class ShapesEdges(TargetSpec)" in (folder / "src/sslkit_shapes/specs.py").read_text()


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("", "cannot name a distribution"),
        ("../up", "cannot name a distribution"),
        ("two words", "cannot name a distribution"),
        ("7up", "cannot name a distribution"),
        ("end-", "cannot name a distribution"),
        ("sslkit-3d", "'3d' is no name in Python"),
        ("class", "'class' or 'class' is no name in Python"),
        ("sslkit-specs", "every plugin has a module 'specs'"),
        ("torch", "there is a module 'torch' already"),
        ("tests", "there is a module 'tests' already"),
        ("sslkit-targets", "there is a module 'sslkit_targets' already"),
        ("pixel", "there is a target of kind 'pixel'"),
    ],
)
def test_names_that_cannot_be_used(name, match, tmp_path):
    with pytest.raises(PluginError, match=match):
        new_plugin(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kind_is_taken_in_its_own_family_only(tmp_path):
    with pytest.raises(PluginError, match="there is an objective of kind 'dino'"):
        new_plugin("dino", tmp_path, "objective")
    folder = new_plugin("dino", tmp_path)
    assert "class DinoEdges(TargetSpec)" in (folder / "src/dino/specs.py").read_text()
    text = (new_plugin("hog", tmp_path, "objective") / "src/hog/specs.py").read_text()
    assert "class HogThumbnail(ObjectiveSpec)" in text
    assert "$" not in text


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "sslkit-shapes").mkdir()
    folder = new_plugin("sslkit-shapes", tmp_path)  # an empty folder is fine
    readme = folder / "README.md"
    readme.write_text("mine")
    assert main(["plugins", "new", "sslkit-shapes", "--dir", str(tmp_path)]) == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err
    assert readme.read_text() == "mine"
    (tmp_path / "sslkit-file").write_text("")
    with pytest.raises(PluginError, match="sslkit-file: exists"):
        new_plugin("sslkit-file", tmp_path)
