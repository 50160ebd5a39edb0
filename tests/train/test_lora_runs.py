"""Runs that train low-rank changes of the student: what moves, what is kept, and what comes out."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sslkit import Digits, embed, load_backbone
from sslkit.build.restore import restore
from sslkit.cli.main import main
from sslkit.core.passes import Request
from sslkit.errors import SpecError
from sslkit.evaluate.export import export
from sslkit.nn.low_rank import CHANGED, merge
from sslkit.runs.checkpoint import load
from sslkit.specs.load import dump
from sslkit.train.compose import compose
from sslkit.train.launch import resume, train
from tests import tiny

LORA = {"rank": 2, "alpha": 4.0}
PAIR = {**tiny.VIEW, "crops": 2}
IBOT = {
    "kind": "ibot", "local": None, "head": {"hidden": 8, "bottleneck": 4}, "prototypes": 16, "shared_head": True,
    "masker": {"kind": "random", "ratio": 0.5},
}  # fmt: skip
"""Its student has a mask token, and its teacher is a moving average."""


def silent(text):
    """Nobody is told."""


def run_of(out=None, **changes):
    parts = {
        "views": {"global": PAIR}, "objective": IBOT, "nets": {"teacher": {"momentum": 0.9}}, "lora": LORA, "steps": 4,
    }  # fmt: skip
    return tiny.spec(out, **{**parts, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return Path(train(run_of(tmp_path_factory.mktemp("runs") / "a"), silent)["paths"]["run"])


def weights(run, step=4):
    return load(run / "checkpoints" / f"step-{step:08d}").state["system"]


def images():
    return torch.rand(1, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def tokens(net):
    with torch.no_grad():
        return net.eval()([Request(images(), None, "drop", ())])[0].patch


def test_changes_heads_and_the_mask_token_are_all_that_moves(finished):
    before, after = compose(run_of(), tiny.CPU).system.state_dict(), weights(finished)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    student = {name.removeprefix("nets.student.") for name in moved if name.startswith("nets.student.")}
    assert "mask_token" in student
    assert all(name.endswith((f"{CHANGED}0.up", f"{CHANGED}0.down", "mask_token")) for name in student)
    assert sum(name.endswith("0.up") for name in student) == 2 * 4, (
        "qkv, proj and two of the MLP, in each block"
    )
    assert any(name.startswith("objectives.") for name in moved)
    assert any(name.startswith("nets.teacher.") and name.endswith("0.up") for name in moved), "it follows"


def test_the_moving_average_is_of_the_changes():
    composed, _ = tiny.steps(run_of(), 1)
    student, teacher = (
        dict(composed.system.nets[name].named_parameters()) for name in ("student", "teacher")
    )
    for name, value in teacher.items():
        if name.endswith("0.up"):
            torch.testing.assert_close(value, 0.1 * student[name], msg=name)


def test_what_comes_out_is_merged(finished, tmp_path):
    """A network of the plain layout, with the function of the one that trained."""
    net = load_backbone(finished)
    assert not [name for name in net.state_dict() if CHANGED in name]
    trained = compose(run_of(), tiny.CPU).system
    trained.load_state_dict(weights(finished))
    torch.testing.assert_close(tokens(net), tokens(trained.nets["student"]), rtol=0, atol=1e-5)
    merged = copy.deepcopy(trained.nets["student"])
    merge(merged)
    assert net.export().state.keys() == merged.export().state.keys()
    teacher = restore(finished).net("teacher")
    torch.testing.assert_close(tokens(teacher), tokens(trained.nets["teacher"]), rtol=0, atol=1e-5)
    file = tmp_path / "net.safetensors"
    export(finished, file)
    embed(file, data=Digits(), out=tmp_path / "file.npy", workers=0, device="cpu")
    embed(finished, out=tmp_path / "run.npy", workers=0, device="cpu")
    rows = [np.load(tmp_path / name) for name in ("file.npy", "run.npy")]
    np.testing.assert_allclose(*rows, atol=1e-5)


def test_a_resumed_run_ends_as_an_uninterrupted_one(finished, tmp_path):
    half = tmp_path / "a"
    shutil.copytree(finished, half)
    shutil.rmtree(half / "checkpoints" / "step-00000004")
    (half / "summary.json").unlink()
    resume(half, silent)
    one, two = weights(finished), weights(half)
    assert all(torch.equal(one[name], value) for name, value in two.items())


@pytest.mark.parametrize("here", [LORA, None])
def test_a_run_may_begin_with_the_merged_weights_of_another(finished, here):
    """Whatever it trains itself; a run of whole weights begins one with changes in the same way."""
    begun = compose(run_of(lora=here, start_from={"run": str(finished)}), tiny.CPU).system.nets
    torch.testing.assert_close(tokens(begun["student"]), tokens(load_backbone(finished)), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        tokens(begun["teacher"]), tokens(restore(finished).net("teacher")), rtol=0, atol=1e-5
    )
    assert any(CHANGED in name for name in begun["student"].state_dict()) == (here is not None)


def test_a_run_of_whole_weights_begins_one_with_changes(tmp_path):
    whole = Path(train(run_of(tmp_path / "whole", lora=None, steps=1), silent)["paths"]["run"])
    begun = compose(run_of(start_from={"run": str(whole)}), tiny.CPU).system.nets
    assert torch.equal(tokens(begun["student"]), tokens(load_backbone(whole)))


def test_explain_counts_what_is_trained(tmp_path, capsys):
    (tmp_path / "spec.yaml").write_text(dump(run_of(tmp_path / "a")))
    assert main(["explain", str(tmp_path / "spec.yaml")]) == 0
    net = compose(run_of(), tiny.CPU).system.nets["student"]
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in net.parameters()) - trained
    assert trained == 2 * 2 * ((16 + 48) + (16 + 16) + 2 * (16 + 64)) + 16
    assert f"parameters  {trained:,} in student, beside {frozen:,} that are frozen" in capsys.readouterr().out


def test_networks_and_rates_that_cannot_be(tmp_path):
    cnn = {"kind": "cnn", "name": "test_resnet", "stem": "cifar"}
    simsiam = {"objective": {"kind": "simsiam"}, "nets": {}, "backbone": cnn}
    with pytest.raises(SpecError, match=r"lora: \w+ has no blocks of attention and MLP to adapt"):
        compose(run_of(**simsiam), tiny.CPU)
    with pytest.raises(
        SpecError, match=r"lora: freezes the patch embedding, so leave `optimizer.patch_embed_rate` out"
    ):
        run_of(optimizer={"patch_embed_rate": 0.2})
