"""The sweep over timm's modules, on its smallest networks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "timm_sweep.py"


@pytest.fixture(scope="module")
def sweep():
    spec = importlib.util.spec_from_file_location("timm_sweep", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["timm_sweep"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(sweep):
    """A map, tokens, and channels last with an MLP in the head."""
    names = ("test_convnext", "test_vit", "test_mambaout")
    return {name: {"module": name, "name": name, "parameters": 1, **sweep.examine(name)} for name in names}


def test_small_networks_are_right(sweep, rows):
    assert all(map(sweep.right, rows.values()))
    assert {name: (row["patches"], row["prefix"], row["left_out"]) for name, row in rows.items()} == {
        "test_convnext": (4, [], []),
        "test_vit": (16, ["cls_token"], []),
        "test_mambaout": (4, [], ["head.pre_logits.fc.weight", "head.pre_logits.fc.bias"]),
    }
    assert [row["vector"] is None for row in rows.values()] == [False, False, True]


@pytest.mark.parametrize(
    ("change", "value"), [("tokens", 0.1), ("vector", 0.1), ("copy", 0.1), ("exported", 0.1), ("idle", ["w"])]
)
def test_what_is_wrong_is_told(sweep, rows, change, value):
    row = {**rows["test_vit"], change: value}
    assert not sweep.right(row)
    assert "**wrong**" in sweep.line(row)


def test_the_sweep_goes_on_where_it_stopped(sweep, tmp_path, monkeypatch):
    modules = ["first", "second", "third"]
    monkeypatch.setattr(sweep.timm, "list_modules", lambda: modules)
    done = []

    def smallest(module):
        done.append(module)
        if module == "second":
            raise RuntimeError("no such thing")
        return f"net_{module}", int(40e6)

    monkeypatch.setattr(sweep, "smallest", smallest)
    path = tmp_path / "rows.jsonl"
    assert not sweep.sweep(path, seconds=-1)
    assert sweep.sweep(path, seconds=60)
    assert sweep.sweep(path, seconds=60)
    assert done == modules
    assert [row["module"] for row in sweep.read_rows(path)] == modules
    page = tmp_path / "page.md"
    page.write_text(f"before\n{sweep.BEGIN}\nold\n{sweep.END}\nafter\n")
    sweep.write(page, sweep.read_rows(path))
    text = page.read_text()
    assert (text[:7], text[-6:]) == ("before\n", "after\n")
    assert "old" not in text
    assert "| `second` | RuntimeError: no such thing |" in text
    assert "over 30 M parameters: `first`, `third`." in text


def test_the_smallest_member_is_the_one_with_the_fewest_parameters(sweep):
    name, count = sweep.smallest("mambaout")
    assert name == "test_mambaout"
    assert count == sweep.parameters(name) < 1e6


def test_a_network_that_cannot_be_read_is_a_row_with_a_reason(sweep, monkeypatch):
    monkeypatch.setattr(sweep, "SIZES", ())
    row = sweep.examine("crossvit_tiny_240")
    assert set(row) == {"refused"}
    assert "gives list of 2 for one image" in row["refused"]
    assert torch.is_grad_enabled()
