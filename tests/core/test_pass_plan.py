"""Askers of one pass share it, whatever layers each wants."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit import RandomMasker
from sslkit.core.pass_plan import Plan, read_patches, same_pass
from sslkit.core.passes import Encode, Tokens

HALF, MOST = RandomMasker(ratio=0.5), RandomMasker(ratio=0.75)
ENCODES = st.builds(
    Encode,
    view=st.sampled_from(["a", "b"]),
    net=st.sampled_from(["student", "teacher"]),
    mask=st.sampled_from([None, HALF, MOST]),
    mode=st.sampled_from(["drop", "token"]),
    layers=st.lists(st.integers(-2, 2), max_size=3).map(tuple),
    attention=st.booleans(),
    patches=st.sampled_from(["all", "mean", "none"]),
    salt=st.sampled_from(["", "1"]),
)


def answer(run: Encode) -> Tokens:
    """Tokens in which each layer holds its own number."""
    layers = tuple(torch.full((1, 1, 2, 1), float(layer)) for layer in run.layers)
    attention = torch.ones(1, 1, 1, 1) if run.attention else None
    patch = read_patches(torch.arange(6.0).reshape(1, 1, 3, 2), run.patches)
    return Tokens(torch.zeros(1), torch.zeros(1), patch, None, layers, attention)


@given(st.lists(ENCODES, max_size=8))
def test_everybody_receives_exactly_the_layers_that_were_asked_for(asked: list[Encode]) -> None:
    plan = Plan(asked)
    answers = [answer(run) for run in plan.runs]
    for request, share in zip(plan.asked, plan.shares, strict=True):
        told = share.of(answers)
        assert [layer.mean().item() for layer in told.layers] == list(request.layers)
        assert (told.attention is not None) == request.attention
        expected = {"all": [[0, 1], [2, 3], [4, 5]], "mean": [[2, 3]], "none": []}
        assert told.patch[0, 0].tolist() == expected[request.patches]


@given(st.lists(ENCODES, max_size=8))
def test_no_pass_runs_twice(asked: list[Encode]) -> None:
    plan = Plan(asked)
    assert len({same_pass(run) for run in plan.runs}) == len(plan.runs)
    assert {same_pass(request) for request in asked} == {same_pass(run) for run in plan.runs}
    assert sorted(i for group in plan.members for i in group) == list(range(len(plan.asked)))
    assert all(len(set(run.layers)) == len(run.layers) for run in plan.runs)


def test_what_decides_a_pass() -> None:
    assert same_pass(Encode("a", layers=(1,), attention=True)) == Encode("a")
    assert same_pass(Encode("a", mode="token")) == Encode("a"), "without a mask there is no mode"
    different = [
        Encode("a"),
        Encode("b"),
        Encode("a", net="teacher"),
        Encode("a", mask=HALF),
        Encode("a", mask=MOST),
    ]
    assert len(Plan([*different, Encode("a", mask=HALF, mode="token")]).runs) == 6
    assert same_pass(Encode("a", salt="1")) == Encode("a"), "without a mask there is nothing to set apart"
    assert same_pass(Encode("a", mask=HALF, salt="1")) != same_pass(Encode("a", mask=HALF))


def test_layers_come_in_the_order_of_first_asking() -> None:
    plan = Plan([Encode("a", layers=(3, 1)), Encode("a", layers=(1, 2), attention=True), Encode("a")])
    assert plan.runs == (Encode("a", layers=(3, 1, 2), attention=True),)
    assert plan.members == ((0, 1, 2),)
    assert [share.layers for share in plan.shares] == [(0, 1), (1, 2), ()]
