"""`sslkit plugins new`: what it writes installs, passes its own tests, and runs."""

from __future__ import annotations

import json
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


def command(*words: str, cwd: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with `site` on its path."""
    environment = {**os.environ, "PYTHONPATH": str(site or ""), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.slow
def test_a_new_plugin_installs_passes_its_tests_and_trains(tmp_path, capsys):
    assert main(["plugins", "new", "Sslkit-shapes.v2", "--dir", str(tmp_path / "deep")]) == 0
    folder, site = tmp_path / "deep" / "Sslkit-shapes.v2", tmp_path / "site"
    assert f"written: {folder}, a plugin with the target 'shapes_v2'" in capsys.readouterr().out

    install = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--target")
    command("-m", "pip", "install", "-q", *install, str(site), str(folder), cwd=tmp_path)
    command("-m", "ruff", "check", "--no-cache", ".", cwd=folder)
    command("-m", "ruff", "format", "--no-cache", "--check", ".", cwd=folder)
    tested = command("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=folder, site=site)
    assert "4 passed" in tested.stdout

    shown = command("-m", "sslkit", "plugins", "show", "target/shapes_v2", cwd=tmp_path, site=site).stdout
    assert "target/shapes_v2, class ShapesV2Edges of" in shown
    run = ("-m", "sslkit", "run", str(folder / "spec.yaml"), "steps=2", "evaluate=[]", "--out", "run")
    command(*run, cwd=tmp_path, site=site)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["finished"]
    assert summary["step"] == 2
    assert 0 < summary["metrics"]["loss/mae"] < 10


@pytest.mark.slow
def test_a_new_objective_joins_a_hybrid(tmp_path):
    """Installed, it is a term beside MAE under PCGrad, and nothing of sslkit knows it by name."""
    new = ("plugins", "new", "sslkit-miniature", "--family", "objective", "--dir", str(tmp_path))
    assert main([*new]) == 0
    folder, site = tmp_path / "sslkit-miniature", tmp_path / "site"
    install = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--target")
    command("-m", "pip", "install", "-q", *install, str(site), str(folder), cwd=tmp_path)
    command("-m", "ruff", "check", "--no-cache", ".", cwd=folder)
    command("-m", "ruff", "format", "--no-cache", "--check", ".", cwd=folder)
    tested = command("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=folder, site=site)
    assert "2 passed" in tested.stdout
    shown = command("-m", "sslkit", "explain", str(folder / "spec.yaml"), cwd=tmp_path, site=site).stdout
    assert "2 passes run where 2 are asked for" in shown
    run = ("-m", "sslkit", "run", str(folder / "spec.yaml"), "steps=2", "evaluate=[]", "--out", "run")
    command(*run, "log.every=1", cwd=tmp_path, site=site)
    metrics = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert 0 < metrics["miniature/rmse"] < 10
    assert -1 <= metrics["balance/mim_miniature/cosine"] <= 1


def test_every_family_that_can_be_begun_has_a_template():
    assert {path.name for path in scaffold.TEMPLATE.iterdir()} == {scaffold.COMMON, *scaffold.EXAMPLES}
    assert scaffold.EXAMPLES.keys() <= FAMILIES.keys()


def test_names_follow_from_the_distribution(tmp_path):
    folder = new_plugin("sslkit-shapes", tmp_path)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "pyproject.toml",
        "spec.yaml",
        "sslkit_shapes/__init__.py",
        "sslkit_shapes/plugin.py",
        "sslkit_shapes/target.py",
        "tests/test_plugin.py",
    }
    text = "".join((folder / file).read_text() for file in files)
    assert "$" not in text
    assert 'shapes = "sslkit_shapes.plugin"' in (folder / "pyproject.toml").read_text()
    assert "class ShapesEdges(TargetSpec)" in (folder / "sslkit_shapes" / "plugin.py").read_text()


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
    assert "class DinoEdges(TargetSpec)" in (folder / "dino" / "plugin.py").read_text()
    text = (new_plugin("hog", tmp_path, "objective") / "hog" / "plugin.py").read_text()
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
