"""Every balancer in runs: exact resume, what is told of it, one graph, micro-batches, specs."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from sslkit.errors import SpecError
from sslkit.specs.load import parse
from tests import tiny
from tests.plugins.balancers.runs import BALANCERS, IN_FORWARD, ON_GRADIENTS, TERMS, composed, run_of, train


def needs(name: str) -> None:
    if name.startswith("torchjd"):
        pytest.importorskip("torchjd")


@pytest.mark.parametrize("name", BALANCERS)
def test_a_resumed_run_is_bit_equal(name: str) -> None:
    needs(name)
    spec = run_of(name)
    whole, first, second = composed(spec), composed(spec), composed(spec)
    expected = train(spec, whole, 0, 4)
    train(spec, first, 0, 2)
    second.step.load_state_dict(first.step.state_dict())
    for one, two in zip(expected[2:], train(spec, second, 2, 4), strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert tiny.same(whole, second)


@pytest.mark.parametrize("name", BALANCERS)
def test_what_a_step_tells(name: str) -> None:
    """Weights of all; lengths, cosines and conflict where gradients are compared anyway."""
    needs(name)
    spec = run_of(name)
    told = train(spec, composed(spec), 0, 1)[0]
    keys = {key for key in told if key.startswith("balance/")}
    wanted = {"balance/some/weight", "balance/most/weight"}
    if name not in IN_FORWARD:
        wanted |= {"balance/some/gradient_norm", "balance/most/gradient_norm"}
        wanted |= {"balance/some_most/cosine", "balance/conflict"}
    assert keys == wanted
    assert all(told[key].isfinite() and told[key].ndim == 0 for key in keys)


@pytest.mark.parametrize("name", ["uncertainty", "dwa"])
def test_what_acts_in_the_forward_is_part_of_its_graph(name: str) -> None:
    torch._dynamo.reset()
    counters.clear()
    spec = run_of(name)
    eager = train(spec, composed(spec), 0, 3)
    backend = "aot_eager" if name == "uncertainty" else "eager"  # traces only, in half the time
    compiled = run_of(name, compile={"enabled": True, "backend": backend})
    for one, two in zip(eager, train(compiled, composed(compiled), 0, 3), strict=True):
        for key, value in one.items():
            assert torch.allclose(two[key], value, rtol=1e-4, atol=1e-6), key
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["dwa", "uncertainty", "gradnorm", "pcgrad"])
def test_micro_batches_change_nothing_but_rounding(name: str) -> None:
    whole, parts = run_of(name), run_of(name, micro_batch_size=8)
    for one, two in zip(
        train(whole, composed(whole), 0, 3), train(parts, composed(parts), 0, 3), strict=True
    ):
        for key, value in one.items():
            assert two[key].item() == pytest.approx(value.item(), rel=2e-3, abs=2e-4), key


def test_one_objective_needs_no_balance() -> None:
    """With K = 1 gradient balancers with weights of sum 1 or K give what `fixed` gives, and nothing is told."""
    expected = train(*alone({"kind": "fixed"}))
    for name in ("pcgrad", "mgda", "imtl_g", "gradnorm"):
        found = train(*alone(ON_GRADIENTS[name]))
        assert found[-1].keys() == expected[-1].keys()
        assert found[-1]["loss"].item() == pytest.approx(expected[-1]["loss"].item(), rel=1e-5)


def alone(balance):  # type: ignore[no-untyped-def]
    terms = {"some": TERMS["some"]}
    fields = tiny.fields(objective=None, objectives=terms, balance=balance, optimizer={"lr": 0.01})
    spec = parse(fields, began=True)  # a run that begins now is refused: there is nothing to balance
    return spec, composed(spec), 0, 3


def test_inner_balancers_hear_of_the_losses_of_their_hybrid() -> None:
    spec = tiny.spec(
        objective=None,
        objectives={
            "plain": TERMS["some"],
            "both": {"kind": "hybrid", "objectives": TERMS, "balance": {"kind": "dwa", "steps": 1}},
        },
    )
    parts = composed(spec)
    told = train(spec, parts, 0, 2)
    inner = parts.system.inner["both"]
    assert int(inner.done) == 2
    expected = [[step[f"loss/both/{name}"].item() for name in TERMS] for step in told]
    assert inner.means.tolist() == [pytest.approx(row) for row in expected]


@pytest.mark.parametrize("kind", ["cagrad", "mgda"])
def test_too_many_objectives_for_a_solver_that_looks_at_all_subsets(kind: str) -> None:
    fields = tiny.fields(
        objective=None, objectives={f"t{i}": TERMS["some"] for i in range(11)}, balance={"kind": kind}
    )
    with pytest.raises(SpecError, match=r"^balance: takes at most 10 objectives, and the run has 11"):
        parse(fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"kind": "uncertainty", "initial": 11.0},
            r"^balance.initial: must lie within -10.0 and 10.0, found 11.0$",
        ),
        ({"kind": "dwa", "temperature": 0}, r"^balance.temperature: must be greater than 0"),
        ({"kind": "cagrad", "c": 1.0}, r"^balance.c: must be less than 1"),
        ({"kind": "pcgrad", "space": "tokens"}, r"^balance.space: "),
    ],
)
def test_fields_out_of_range(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(tiny.fields(objective=None, objectives=TERMS, balance=fields))


def test_features_are_weighed_over_all_micro_batches() -> None:
    """A weight of each micro-batch's own would give another step."""
    ends = []
    for micro in (None, 8):
        plain = {"name": "sgd", "lr": 0.1}  # Adam divides rounding errors by gradients near 0
        spec = run_of("pcgrad on features", micro_batch_size=micro, optimizer=plain)
        parts, _ = tiny.steps(spec, 2)
        ends.append(parts.system.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5)
