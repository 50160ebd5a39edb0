"""Balancers of several kinds in one run: gradients weighed outside, losses inside hybrids, all saved and resumed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.runs.checkpoint import Checkpoints, load
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed
from tests import tiny
from tests.plugins.balancers.runs import SOME, TERMS, composed, train

FADE = {"start": 0.0, "end": 1.0, "shape": "linear"}
APART = {"kind": "uniformity", "masker": SOME["masker"]}
NEAR = {"kind": "koleo", "masker": SOME["masker"]}


def run_of(balance: dict[str, Any], **changes: Any) -> RunSpec:
    """A hybrid by uncertainty in one by DWA, beside a plain term, below `balance`."""
    inmost = {
        "kind": "hybrid",
        "objectives": {"sphere": APART, "near": {**NEAR, "weight": 0.1}},
        "balance": {"kind": "uncertainty", "initial": 0.5},
        "weight": FADE,
    }
    inner = {
        "kind": "hybrid",
        "objectives": {"mim": SOME, "apart": inmost},
        "balance": {"kind": "dwa", "steps": 1},
    }
    terms = {"both": inner, "most": TERMS["most"]}
    fields = {
        "objective": {"kind": "hybrid", "objectives": terms, "balance": balance},
        "batch_size": 8,
        **changes,
    }
    return tiny.spec(**fields)


GRADNORM = {"kind": "gradnorm", "lr": 0.1}


def moving(parts: Composed) -> dict[str, Tensor]:
    """What balancers remember or learn."""
    state = parts.step.state_dict()["system"]
    return {key: value for key, value in state.items() if key.startswith(("balancer.", "inner."))}


@pytest.fixture(scope="module")
def whole() -> tuple[RunSpec, Composed, list[dict[str, Tensor]]]:
    """Six steps in one go."""
    spec = run_of(GRADNORM)
    parts = composed(spec)
    return spec, parts, train(spec, parts, 0, 6)


def test_every_balancer_moves(whole: Any) -> None:
    spec, parts, _ = whole
    before, after = moving(composed(spec)), moving(parts)
    assert before.keys() == after.keys()
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert {"balancer.weights", "balancer.first", "balancer.moments", "balancer.steps"} <= changed
    assert {"inner.both.means", "inner.both.done"} <= changed
    assert any(key.endswith("log_variance") for key in changed)


def test_what_is_joined_inside_is_what_is_weighed_outside(whole: Any) -> None:
    """The first step by hand: DWA's weights are 1, the inmost hybrid has weight 0."""
    _, _, told = whole
    first = told[0]
    assert first["balance/both/weight"] == first["balance/most/weight"] == 1
    expected = first["loss/both/mim"] + first["loss/most"]
    torch.testing.assert_close(first["loss"], expected)


def test_the_second_step_by_hand(whole: Any) -> None:
    """GradNorm's weights of the step before, DWA still at 1, uncertainty with a weight of 1/8."""
    spec, _, told = whole
    parts = composed(spec)
    train(spec, parts, 0, 1)
    (s,) = [value for key, value in moving(parts).items() if key.endswith("log_variance")]
    weights = parts.system.balancer.weights.float()
    second = told[1]
    members = torch.stack([second["loss/both/apart/sphere"], 0.1 * second["loss/both/apart/near"]])
    inmost = ((-s).exp() / 2 * members + s / 2).sum()
    outer = torch.stack([second["loss/both/mim"] + inmost / 8, second["loss/most"]])
    torch.testing.assert_close(second["loss"], (weights * outer).sum(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_run_goes_on_from_its_file_to_the_last_bit(whole: Any, tmp_path: Path, stop: int) -> None:
    spec, parts, told = whole
    first = composed(spec)
    train(spec, first, 0, stop)
    path = Checkpoints(tmp_path).save(stop, first.step.state_dict(), {}, None)
    second = composed(spec)
    second.step.load_state_dict(load(path).state)
    again = train(spec, second, stop, 6)
    for one, two in zip(told[stop:], again, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert tiny.same(parts, second)
    moments, resumed = (p.step.state_dict()["optimizer"]["state"] for p in (parts, second))
    for number, values in moments.items():
        assert all(torch.equal(resumed[number][key], value) for key, value in values.items())


def test_state_is_all_that_differs_between_two_runs_at_one_step(whole: Any) -> None:
    """No balancer keeps anything beside parameters and buffers, or a foreign state would not take over wholly."""
    spec, parts, _ = whole
    other = composed(spec)
    train(spec, other, 0, 2)
    third = composed(spec)
    for one in (other, third):  # optimizers take tensors as they are
        one.step.load_state_dict(copy.deepcopy(parts.step.state_dict()))
    left, right = train(spec, other, 6, 7), train(spec, third, 6, 7)
    assert all(torch.equal(left[0][key], value) for key, value in right[0].items())
    assert tiny.same(other, third)


def test_learned_variances_are_trained_without_decay_and_clipped_with_the_rest(whole: Any) -> None:
    _, parts, _ = whole
    learned = {id(p) for p in parts.system.inner.parameters()}
    assert learned
    groups = [g for g in parts.step.optimizer.param_groups if learned & {id(p) for p in g["params"]}]
    assert [g["weight_decay"] for g in groups] == [0.0]
    assert learned <= {id(p) for p in parts.step.parameters}


def test_measuring_a_nest_changes_no_bit() -> None:
    plain, measured = run_of({"kind": "fixed"}), run_of({"kind": "fixed"}, log={"conflict": "1 steps"})
    one, two = composed(plain), composed(measured)
    left, right = train(plain, one, 0, 3), train(measured, two, 0, 3)
    for a, b in zip(left, right, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert set(b) - set(a) == {
            "balance/both/gradient_norm", "balance/most/gradient_norm", "balance/both_most/cosine", "balance/conflict",
        }  # fmt: skip
    assert tiny.same(one, two)


@pytest.mark.parametrize("balance", [{"kind": "pcgrad"}, {"kind": "fixed"}])
def test_micro_batches_of_a_nest_without_statistics(balance: dict[str, Any]) -> None:
    """Of losses that are means over images: the nest adds no error of its own."""
    terms = {
        "both": {
            "kind": "hybrid",
            "objectives": {"a": SOME, "b": {**SOME, "target": {"kind": "pixel"}}},
            "balance": {"kind": "fixed", "weights": {"b": 0.5}},
        },
        "most": TERMS["most"],
    }
    changes = {
        "objective": None,
        "objectives": terms,
        "balance": balance,
        "optimizer": {"name": "sgd", "lr": 0.1},
    }
    whole_spec, cut = tiny.spec(**changes), tiny.spec(**changes, micro_batch_size=8)
    one, two = composed(whole_spec), composed(cut)
    for a, b in zip(train(whole_spec, one, 0, 2), train(cut, two, 0, 2), strict=True):
        assert all(b[key].item() == pytest.approx(a[key].item(), rel=1e-3, abs=1e-4) for key in a)
