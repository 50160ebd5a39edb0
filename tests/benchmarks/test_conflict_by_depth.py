"""Conflict by depth: gradients are those of each term alone, by block, and nothing is updated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sslkit.specs.load import parse
from sslkit.train.launch import train
from tests import tiny

HALF = {"kind": "random", "ratio": 0.5}


@pytest.fixture
def script(scripts):
    return scripts("conflict_by_depth")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A hybrid of two terms with three checkpoints."""
    fields = tiny.fields(steps=4, out=str(tmp_path / "run"))
    del fields["objective"]
    fields.pop("epochs", None)
    fields["objectives"] = {
        "mim": {"kind": "mae", "masker": HALF, "decoder": {"depth": 1, "width": 16, "heads": 2}},
        "apart": {"kind": "uniformity", "masker": HALF},
    }
    fields["checkpoint"] = {"every": "1 steps", "keep": 100}
    fields["evaluate"] = []
    train(parse(fields), say=lambda _: None)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("net.blocks.3.attn.qkv.weight", "block 3"), ("net.layer2.0.conv1.weight", "layer 2"),
        ("net.stages.1.blocks.0.weight", "stage 1"), ("net.layers_0.blocks.1.weight", "layer 0"),
        ("net.patch_embed.proj.weight", "before and after"),
    ],
)  # fmt: skip
def test_parameters_have_a_depth(script, name, depth):
    assert script.depth_of(name) == depth


def test_products_are_of_each_term_alone_by_depth(script):
    a, b = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    losses = (a.sum() + b.sum(), (a * torch.tensor([1.0, -1.0])).sum())
    found = script.grams(SimpleNamespace(losses=losses), {"blocks.0.a": a, "blocks.1.b": b})
    assert found["block 0"].tolist() == [[2, 0], [0, 2]]
    assert found["block 1"].tolist() == [[2, 0], [0, 0]]
    cells = list(script.cells(7, ["one", "two"], [found]))
    assert cells == [script.Cell(7, "one, two", "block 0", (0.0,))], "the second does not reach block 1"


def test_the_table_has_a_column_for_each_checkpoint(script):
    made = [
        script.Cell(s, "a, b", d, c)
        for s, d, c in [(1, "x", (0.5, -0.1)), (9, "x", (0.2,)), (9, "y", (-0.4,))]
    ]
    assert script.table(made).splitlines()[2:] == [
        "| a, b | x | +0.200, 50 % | +0.200, 0 % |", "| a, b | y |  | -0.400, 100 % |",
    ]  # fmt: skip


def test_checkpoints_are_taken_evenly_and_the_last_is_among_them(script):
    paths = [Path(str(i)) for i in range(7)]
    assert [str(path) for path in script.some(paths, 3)] == ["0", "3", "6"]
    assert [str(path) for path in script.some(paths, 1)] == ["6"]
    assert script.some(paths, 9) == paths


def test_a_run_is_measured_at_its_checkpoints_and_stays_as_it_is(script, run, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    script.main([str(run), "--batches", "2", "--checkpoints", "2", "--batch-size", "4"])
    out = capsys.readouterr().out
    assert "| mim, apart | block 0 | " in out
    assert "step 4" in out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_both_batches_are_read_at_the_same_weights(script, run, monkeypatch):
    weights = []
    grams = script.grams

    def noted(stepped, parameters):
        weights.append(torch.cat([p.detach().flatten() for p in parameters.values()]))
        return grams(stepped, parameters)

    monkeypatch.setattr(script, "grams", noted)
    made = script.measured(run, "step-00000002", 2, 2, None)
    assert weights[0].equal(weights[1])
    assert all(len(cell.cosines) == 2 and max(map(abs, cell.cosines)) <= 1 for cell in made)
    assert made[0].cosines[0] != made[0].cosines[1]
