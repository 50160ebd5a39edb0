"""float16 with a scaled loss: overflows skip a step, on the device, and a resumed run goes on alike."""

from __future__ import annotations

import copy

import pytest
import torch

from sslkit.build.restore import restore
from sslkit.build.saved_state import load_loss_scale
from sslkit.errors import CheckpointError, SpecError
from sslkit.optim.lars import LARS
from sslkit.runs.checkpoint import Checkpoints
from sslkit.runs.metrics_log import read
from sslkit.runtime.loss_scale import require_scalable
from sslkit.train.compose import compose
from sslkit.train.launch import resume, train
from tests import tiny

HALF = {"precision": "float16", "optimizer": {"lr": 0.01, "clip": 1.0}}
WITH_LARS = {"precision": "float16", "optimizer": {"name": "lars", "lr": 1.0}}
SMALL, HUGE = 1024.0, 2.0**60  # at which gradients of the tiny run do not overflow, and do


def silent(text):
    """Say nothing."""


def at_scale(run, scale=HUGE):
    """A composed run whose first scale is `scale`, and its feed."""
    composed = compose(run, tiny.CPU)
    state = composed.step.loss_scale.state_dict()
    composed.step.loss_scale.load_state_dict({**state, "scale": scale})
    return composed, tiny.feed(run, composed)


def values(losses, name):
    return losses.values[name].item()


def test_half_precision_trains_as_single_precision_does():
    half, whole = (
        tiny.steps(tiny.spec(**changes), 6)[1] for changes in (HALF, {**HALF, "precision": "float32"})
    )
    assert half == pytest.approx(whole, rel=2e-2)
    assert half != whole


@pytest.mark.parametrize("changes", [HALF, WITH_LARS], ids=["adamw", "lars"])
def test_an_overflow_changes_neither_weights_nor_moments_and_halves_the_scale(changes):
    composed, feed = at_scale(tiny.spec(**changes), SMALL)
    step = composed.step
    step(0, feed.step(0))
    step.loss_scale.load_state_dict({**step.loss_scale.state_dict(), "scale": HUGE})
    before = copy.deepcopy(step.state_dict())
    losses = step(1, feed.step(1))
    after = step.state_dict()
    assert values(losses, "skipped_steps") == 1
    assert values(losses, "loss_scale") == HUGE / 2
    assert losses.total.isfinite()
    assert all(torch.equal(before["system"][key], value) for key, value in after["system"].items())
    for key, state in after["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(before["optimizer"]["state"][key][name], value), name
    step.loss_scale.load_state_dict({**step.loss_scale.state_dict(), "scale": SMALL})
    losses = step(2, feed.step(2))
    assert values(losses, "skipped_steps") == 1
    assert values(losses, "loss_scale") == SMALL
    assert not all(torch.equal(before["system"][k], v) for k, v in step.state_dict()["system"].items())


def test_lars_under_a_scaler_moves_as_without():
    """The branch that can skip gives what the other one gives, where all is finite."""
    weights = [[torch.nn.Parameter(torch.arange(1.0, 7).view(2, 3))] for _ in range(2)]
    plain, scaled = (LARS([{"params": w, "decay": True}], 0.1, weight_decay=0.01) for w in weights)
    for step in range(3):
        for (weight,) in weights:
            weight.grad = torch.full((2, 3), 0.5 + step)
        plain.step()
        scaled.found_inf = torch.zeros(())
        scaled.step()
        torch.testing.assert_close(weights[0][0], weights[1][0], rtol=1e-6, atol=0)


def test_no_step_waits_for_the_device(monkeypatch):
    composed, feed = at_scale(tiny.spec(**HALF))
    batches = [list(feed.step(i)) for i in range(2)]
    composed.step(0, batches[0])

    waits = []
    for name in ("item", "tolist", "__bool__", "__float__"):
        read = getattr(torch.Tensor, name)
        counting = lambda *words, name=name, read=read: waits.append(name) or read(*words)  # noqa: E731
        monkeypatch.setattr(torch.Tensor, name, counting)
    composed.step(1, batches[1])
    assert waits == []
    assert not torch.zeros(1).item()
    assert waits == ["item"], "a wait would have been counted"


def test_micro_batches_share_one_scale():
    losses, states = [], []
    for changes in ({}, {"micro_batch_size": 8}):
        composed, feed = at_scale(tiny.spec(**HALF, **changes), SMALL)
        losses.append([composed.step(i, feed.step(i)).total.item() for i in range(4)])
        states.append(composed.step.loss_scale.state_dict())
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    assert states[1] == states[0]
    assert states[0]["skipped_steps"] == 0


def test_a_resumed_run_is_bit_equal_with_its_scale_and_its_count():
    run = tiny.spec(**HALF)
    whole, feed = at_scale(run, 2.0**34)
    for i in range(6):
        if i == 3:
            state = copy.deepcopy(whole.step.state_dict())
        whole.step(i, feed.step(i))
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(state)
    feed = tiny.feed(run, resumed)
    for i in range(3, 6):
        resumed.step(i, feed.step(i))
    assert tiny.same(whole, resumed)
    assert state["loss_scale"]["skipped_steps"] > 0
    assert whole.step.loss_scale.state_dict() == resumed.step.loss_scale.state_dict()


def test_records_checkpoints_and_the_summary_have_the_scale(tmp_path):
    run = tiny.spec(tmp_path, **HALF)
    summary = train(run, silent)
    scale, skipped = (summary["metrics"][name] for name in ("loss_scale", "skipped_steps"))
    assert scale == 65536 / 2**skipped
    assert [r["loss_scale"] * 2 ** r["skipped_steps"] for r in read(tmp_path) if "loss" in r] == [65536] * 8
    newest, _ = Checkpoints(tmp_path / "checkpoints").newest()
    assert newest.state["loss_scale"]["scale"] == scale
    assert newest.state["loss_scale"]["skipped_steps"] == skipped
    (tmp_path / "summary.json").unlink()
    assert resume(tmp_path, silent)["weights_sha256"] == summary["weights_sha256"]


def test_a_checkpoint_without_a_scale_is_named(tmp_path):
    train(tiny.spec(tmp_path), silent)
    loaded = restore(tmp_path).loaded
    composed = compose(tiny.spec(**HALF), tiny.CPU)
    with pytest.raises(CheckpointError, match="does not fit this run's loss scale"):
        load_loss_scale(composed.step.loss_scale, loaded)


def test_without_float16_there_is_no_scale():
    composed, _ = tiny.steps(tiny.spec(), 1)
    assert composed.step.loss_scale.state_dict() == {}
    assert composed.step.loss_scale.metrics() == {}


TWO = {
    "a": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER},
    "b": {"kind": "simmim", "masker": {"kind": "random", "ratio": 0.5}},
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"optimizer": {"name": "momentum"}},
            r"`optimizer.name: momentum` cannot skip .* use `adamw` or `lars`",
        ),
        (
            {"objective": None, "objectives": TWO, "balance": {"kind": "mgda"}},
            "`balance` weighs the gradients",
        ),
        ({"objective": None, "objectives": TWO, "log": {"conflict": "2 steps"}}, r"`log.conflict` compares"),
    ],
)
def test_what_cannot_scale_its_loss_is_refused_by_name(changes, reason):
    with pytest.raises(SpecError, match=f"^precision: float16 scales the loss, and {reason}"):
        compose(tiny.spec(**{**HALF, **changes}), tiny.CPU)


def test_shards_are_refused():
    with pytest.raises(SpecError, match="`parallel: fsdp` holds shards"):
        require_scalable("adamw", None, False, True)
    require_scalable("lars", None, False, False)
