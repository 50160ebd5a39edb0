"""Runs brought back from their folder."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
import yaml

from sslkit.api import load_backbone
from sslkit.build.restore import find, restore
from sslkit.build.saved_state import load_masking, load_net, load_optimizer, load_system
from sslkit.errors import CheckpointError
from sslkit.evaluate.evaluate_network import evaluate_run
from sslkit.evaluate.export import export
from sslkit.runs.checkpoint import FOLDER, META, STATE, Checkpoints, Loaded
from sslkit.runs.lock import LOCK, rewrite_lock
from sslkit.runs.seal import sealed
from sslkit.runs.weights import weights_sha256
from sslkit.train.compose import compose
from sslkit.train.launch import train
from tests import tiny

KNN = {"kind": "knn", "every": "2 steps"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with several checkpoints: (folder, summary). Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    run = tiny.spec(
        out, nets={"ema": {"momentum": 0.5}}, readout={"net": "ema"}, evaluate=[KNN],
        checkpoint={"every": "2 steps", "keep": 9},
    )  # fmt: skip
    return out, train(run, lambda text: None)


def test_the_last_checkpoint_is_the_end_of_training(finished):
    out, summary = finished
    restored = restore(out)
    assert restored.loaded.step == summary["step"] == 8
    assert weights_sha256(restored.system) == summary["weights_sha256"]
    assert restored.env.views["global"].channels == 1
    assert restored.net("ema") is restored.system.nets["ema"]


def read_weights(out):
    """Whatever reads a network of the run in `out` and not its objectives."""
    net = load_backbone(out)
    export(out, out.parent / "net.safetensors")
    outcome = evaluate_run(out, only=["knn"])
    shutil.rmtree(out / "features", ignore_errors=True)
    return weights_sha256(net), outcome["metrics"]["knn"]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """A run whose student has a mask token, which its objective asks for."""
    out = tmp_path_factory.mktemp("tokens") / "run"
    objective = {"kind": "beit", "masker": {"kind": "random"}, "target": {"kind": "patch_colors"}}
    train(tiny.spec(out, objective=objective, steps=1, evaluate=[KNN]), lambda text: None)
    return out


@pytest.mark.parametrize("name", ["finished", "tokens"])
def test_a_network_is_read_without_its_objectives(name, request, monkeypatch):
    """Nor targets, tokenizers and teachers: all that a run brings beside its network stays unbuilt."""
    out = request.getfixturevalue(name)
    out = out[0] if name == "finished" else out
    net = restore(out).spec.readout.net
    expected = weights_sha256(restore(out).system.nets[net])
    monkeypatch.setattr("sslkit.build.restore.make_system", lambda *args: pytest.fail("built the objectives"))
    digest, scores = read_weights(out)
    assert digest == expected
    assert scores["accuracy"] > 0
    modes = {module.training for module in restore(out).net("student").modules()}
    assert modes == {True}, "as a system has it"


def test_a_lock_that_tells_no_passes_has_the_whole_built(tokens, tmp_path):
    """A backbone may have weights for some passes only, as a mask token."""
    copy = shutil.copytree(tokens, tmp_path / "run")
    lock = yaml.safe_load((copy / LOCK).read_text())
    expected = weights_sha256(restore(tokens).net("student"))
    lock["resolved"]["passes"] = []
    rewrite_lock(copy, lock)
    assert weights_sha256(restore(copy).net("student")) == expected


def test_weights_of_another_net_are_refused(finished):
    other = Loaded(1, {"system": {"nets.student.x": torch.zeros(2)}}, {}, finished[0])
    with pytest.raises(CheckpointError, match=re.escape(f"{finished[0]}: does not fit this run's network")):
        load_net(restore(finished[0]).system.nets["student"], "student", other)


def test_restoring_needs_no_data(finished, monkeypatch):
    from sslkit_sources.specs.images import Digits

    monkeypatch.setattr(Digits, "build", lambda self, split: pytest.fail("opened the data"))
    assert restore(finished[0]).loaded.step == 8


def test_the_best_and_named_checkpoints_are_found(finished):
    out, summary = finished
    best = int(summary["best"]["eval/knn/accuracy"]["step"])
    assert find(out, "best").step == best
    assert find(out, "step-00000004").step == 4


def test_a_checkpoint_that_is_not_there_is_answered_with_those_that_are(finished):
    names = ", ".join(f"step-{step:08d}" for step in (2, 4, 6, 8))
    with pytest.raises(
        CheckpointError,
        match=re.escape(f"{finished[0]}: has no checkpoint 'step-3'. Known: last, best, {names}"),
    ):
        find(finished[0], "step-3")


def best_state(folder, best, **changes):
    """A run folder whose newest checkpoint holds `best`."""
    run = tiny.spec(folder, **changes)
    train(run, lambda text: None)
    newest = Checkpoints(folder / FOLDER).all()[-1]
    meta = json.loads((newest / META).read_text())
    (newest / META).write_text(json.dumps(sealed({**meta, "best": best})))
    return folder


def test_without_a_best_checkpoint_it_says_why(tmp_path):
    out = best_state(tmp_path / "a", {}, steps=1)
    with pytest.raises(
        CheckpointError,
        match=re.escape(
            "no best checkpoint by any metric. Metrics known: none, as the run made no evaluation"
        ),
    ):
        find(out, "best")
    out = best_state(tmp_path / "b", {"eval/knn/accuracy": {"value": 0.5, "step": 77}}, steps=1)
    with pytest.raises(
        CheckpointError,
        match=re.escape("the best checkpoint (step 77 by eval/knn/accuracy) is no longer there"),
    ):
        find(out, "best")
    knn = {"kind": "knn", "k": 3, "every": "100 steps"}
    named = {"checkpoint": {"best": "eval/knn/top5"}, "evaluate": [knn]}
    out = best_state(tmp_path / "c", {"eval/knn/accuracy": {"value": 0.5, "step": 1}}, steps=1, **named)
    with pytest.raises(
        CheckpointError,
        match=re.escape("no best checkpoint by eval/knn/top5. Metrics known: eval/knn/accuracy"),
    ):
        find(out, "best")


def loaded_from(composed, path, **changes):
    return Loaded(1, {**composed.step.state_dict(), **changes}, {}, path)


def test_weights_of_another_network_are_refused(tmp_path):
    wide = compose(tiny.spec(backbone={**tiny.VIT, "width": 32}), tiny.CPU)
    with pytest.raises(CheckpointError) as caught:
        load_system(compose(tiny.spec(), tiny.CPU).system, loaded_from(wide, tmp_path))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path}: does not fit this run's network:"
    assert "size mismatch" in str(caught.value)
    assert len(lines) <= 5


@pytest.mark.parametrize("weights", [[], "text", {"x": torch.zeros(2)}])
def test_something_else_than_weights_is_refused(tmp_path, weights):
    composed = compose(tiny.spec(), tiny.CPU)
    with pytest.raises(CheckpointError, match=re.escape("does not fit this run's network")):
        load_system(composed.system, loaded_from(composed, tmp_path, system=weights))


@pytest.mark.parametrize(
    "state",
    [{}, [], {"param_groups": []}, {"param_groups": [], "state": {}}],
    ids=["none", "list", "part", "empty"],
)
def test_the_state_of_another_optimizer_is_refused(tmp_path, state):
    composed = compose(tiny.spec(), tiny.CPU)
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path}: does not fit this run's optimizer")):
        load_optimizer(composed.step.optimizer, loaded_from(composed, tmp_path, optimizer=state))


def test_a_damaged_newest_checkpoint_is_never_silently_another(tmp_path):
    train(tiny.spec(tmp_path), lambda text: None)
    newest = Checkpoints(tmp_path / FOLDER).all()[-1]
    (newest / STATE).write_bytes(b"")
    with pytest.raises(CheckpointError, match=re.escape("is damaged or cut short")):
        restore(tmp_path, newest.name)
    with pytest.raises(
        CheckpointError, match=re.escape("Older checkpoints that can be asked for by name: step-00000006")
    ):
        restore(tmp_path)
    assert restore(tmp_path, "step-00000006").loaded.step == 6


def test_what_maskers_learned_comes_back(tmp_path):
    masker = {"kind": "information", "ratio": 0.5}
    run = tiny.spec(tmp_path, objective={"kind": "mae", "masker": masker, "decoder": tiny.DECODER}, steps=2)
    train(run, lambda text: None)
    composed, loaded = compose(run, tiny.CPU), find(tmp_path)
    assert not composed.step.masking.state_dict()["_each.0.seen"]
    load_masking(composed.step.masking, loaded)
    for name, value in composed.step.masking.state_dict().items():
        assert torch.equal(value, loaded.state["masking"][name])
    assert composed.step.masking.state_dict()["_each.0.seen"] == 2


@pytest.mark.parametrize("learned", [{}, {"_each.0.weight": torch.zeros(2)}, "text"])
def test_what_other_maskers_learned_is_refused(tmp_path, learned):
    masker = {"kind": "information", "ratio": 0.5}
    run = tiny.spec(objective={"kind": "mae", "masker": masker, "decoder": tiny.DECODER})
    composed = compose(run, tiny.CPU)
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path}: does not fit this run's maskers")):
        load_masking(composed.step.masking, loaded_from(composed, tmp_path, masking=learned))


def test_a_checkpoint_that_knows_of_no_maskers_fits_those_that_learn_nothing(tmp_path):
    composed = compose(tiny.spec(), tiny.CPU)
    state = {key: value for key, value in composed.step.state_dict().items() if key != "masking"}
    load_masking(composed.step.masking, Loaded(1, state, {}, tmp_path))
    assert composed.step.masking.state_dict() == {}


def test_the_state_of_an_optimizer_of_another_class_is_refused(tmp_path):
    """torch loads it without a word, and the first step fails, or goes on without moments."""
    weight = torch.nn.Parameter(torch.ones(3))
    adamw = torch.optim.AdamW([weight], lr=0.1)
    weight.sum().backward()
    adamw.step()
    saved = Loaded(4, {"optimizer": adamw.state_dict()}, {}, tmp_path / "step-00000004")
    others = [
        (torch.optim.SGD([weight], lr=0.1, momentum=0.9), r"SGD needs .*momentum.*, which the saved"),
        (torch.optim.RMSprop([weight], lr=0.1), r"RMSprop needs .*alpha.*, which the saved"),
    ]
    for other, message in others:
        with pytest.raises(CheckpointError, match=rf"does not fit this run's optimizer:\n  {message}"):
            load_optimizer(other, saved)
    again = torch.optim.AdamW([weight], lr=0.1)
    load_optimizer(again, saved)
    assert torch.equal(again.state[weight]["exp_avg"], adamw.state[weight]["exp_avg"])


def test_settings_that_torch_added_since_are_no_other_optimizer(tmp_path):
    weight = torch.nn.Parameter(torch.ones(3))
    state = torch.optim.AdamW([weight], lr=0.3).state_dict()
    for name in ("foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay"):
        state["param_groups"][0].pop(name, None)
    again = torch.optim.AdamW([weight], lr=0.1)
    load_optimizer(again, Loaded(4, {"optimizer": state}, {}, tmp_path))
    assert again.param_groups[0]["lr"] == 0.3
