"""The notebooks in `examples` run, in a plain interpreter and in a kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sslkit.cli.examples import about, shipped
from sslkit.cli.main import main
from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples").rglob("*.ipynb"))
QUICK = [("epochs=40", "epochs=1"), ("epochs=10", "epochs=1")]
"""What the tests change, to be quick."""


def cells(path: Path, kind: str = "code") -> list[str]:
    """The text of the cells of a kind."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def quick(text: str) -> str:
    for old, new in QUICK:
        text = text.replace(old, new)
    return text


def test_there_is_a_notebook_and_it_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [path.name for path in NOTEBOOKS] == ["own_network.ipynb"]
    assert shipped()["own_network.ipynb"] == NOTEBOOKS[0]
    assert about(NOTEBOOKS[0]) == "Own images, own network, own masker"
    monkeypatch.chdir(tmp_path)
    assert main(["examples", "own_network.ipynb"]) == 0
    assert (tmp_path / "examples" / "own_network.ipynb").read_bytes() == NOTEBOOKS[0].read_bytes()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_hold_no_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_cells_run_one_after_another(path: Path, tmp_path: Path) -> None:
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join(map(quick, cells(path))), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("own_network", "own_masker"):
        summary = json.loads((tmp_path / "runs" / name / "summary.json").read_text())
        assert summary["finished"]
        assert "eval/knn/accuracy" in summary["metrics"]
    assert "kind 'rows'" in done.stdout


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> list[Mapping[str, Any]]:
    """The cells of the notebook as a kernel left them; its last code cell ran twice before the end."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient runs notebooks")
    nbformat = pytest.importorskip("nbformat", reason="nbformat reads notebooks")
    pytest.importorskip("ipykernel", reason="ipykernel is what runs in a notebook")
    notebook = nbformat.read(NOTEBOOKS[0], 4)
    for cell in notebook.cells:
        cell.source = quick(cell.source)
    register = next(cell for cell in notebook.cells if "@register" in cell.source)
    notebook.cells += [register.copy(), notebook.cells[-1].copy(), notebook.cells[3].copy()]
    folder = tmp_path_factory.mktemp("notebook")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    ran: list[Mapping[str, Any]] = notebook.cells
    return ran


def outputs(cell: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    return [output for output in cell["outputs"] if output["output_type"] == kind]


def cell_with(executed: list[Mapping[str, Any]], text: str) -> Mapping[str, Any]:
    return next(cell for cell in executed if text in cell["source"])


def test_a_run_shows_its_parts_in_a_notebook(executed: list[Mapping[str, Any]]) -> None:
    (shown,) = outputs(cell_with(executed, "joint = Run("), "execute_result")
    assert "python_module(network=" in shown["data"]["text/html"]
    assert "resumed in Python alone" in shown["data"]["text/html"]


def test_a_result_shows_scores_and_a_curve(executed: list[Mapping[str, Any]]) -> None:
    (shown,) = outputs(cell_with(executed, "result = joint.fit()"), "execute_result")
    html = shown["data"]["text/html"]
    assert "knn/accuracy" in html
    assert "raw pixels" in html


def test_progress_is_one_line_that_is_updated(executed: list[Mapping[str, Any]]) -> None:
    lines = [
        output["data"]["text/plain"]
        for output in outputs(cell_with(executed, "result = joint.fit()"), "display_data")
    ]
    assert [line for line in lines if line.startswith("step ") and "smoothed loss" in line] == [
        next(line for line in lines if "step 10/10" in line)
    ]


def test_cells_that_run_again_replace_the_masker_and_find_the_run(executed: list[Mapping[str, Any]]) -> None:
    again, shown = executed[-2], executed[-1]
    printed = "".join(output["text"] for output in outputs(again, "stream"))
    assert "runs/own_masker is finished" in printed
    assert "knn/accuracy" in outputs(again, "execute_result")[0]["data"]["text/html"]
    assert shown["source"] == executed[3]["source"]
