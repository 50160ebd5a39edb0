"""Who shares a pass, and what a step costs over its dearest term alone."""

from __future__ import annotations

import pytest

from sslkit.train.compose import compose
from sslkit.train.cost.tokens import plan
from sslkit.train.resolved_values import passes
from tests import tiny

HALF = {"kind": "random", "ratio": 0.5}
MIM = {"kind": "mae", "masker": HALF, "decoder": tiny.DECODER}
CONTRAST = {"kind": "infonce", "net": "teacher", "projector": {"hidden": 8, "out": 4}}
CROPS = {"views": {"global": {**tiny.VIEW, "crops": 2}}, "nets": {"teacher": {"momentum": 0.9}}}
MASKED, WHOLE = 32 * 2 * 3, 32 * 2 * 5
"""Tokens of a step with the class token: 2 of 4 patches, or all."""


def found(objectives, **changes):
    composed = compose(tiny.spec(objective=None, objectives=objectives, **CROPS, **changes), tiny.CPU)
    listed = passes(composed, composed.env)
    return listed, plan(composed.system, composed.step.masking, listed)


def test_a_net_without_gradient_counts_a_third():
    listed, made = found({"contrast": CONTRAST})
    assert [one["for"] for one in listed] == [["contrast"], ["contrast"]]
    assert made == {"asked": 2, "run": 2, "tokens_per_step": 2 * WHOLE, "terms": {"contrast": 1}, "cost": 1}


def test_terms_that_share_nothing_cost_their_sum():
    _, made = found({"mim": MIM, "sim": {"kind": "simmim", "masker": HALF}})
    assert (made["asked"], made["run"]) == (2, 2)
    assert made["terms"] == {"mim": pytest.approx(MASKED / WHOLE), "sim": 1}
    assert made["cost"] == pytest.approx(1 + MASKED / WHOLE)


@pytest.mark.parametrize(
    ("balance", "cost"), [("fixed", 1), ("uncertainty", 1), ("pcgrad", 1 / 3 + 2 * 2 / 3)]
)
def test_a_pass_that_is_shared_costs_once_forward_and_backward_as_often_as_gradients_are_weighed(
    balance, cost
):
    apart = {"kind": "koleo", "masker": HALF}
    listed, made = found({"mim": MIM, "apart": apart}, balance={"kind": balance})
    assert [one["for"] for one in listed] == [["mim", "apart"]]
    assert (made["asked"], made["run"]) == (2, 1)
    assert made["cost"] == pytest.approx(cost, abs=1e-4)


def test_weighing_features_goes_back_through_the_student_once():
    terms = {"mim": MIM, "apart": {"kind": "koleo", "masker": HALF}}
    _, made = found(terms, balance={"kind": "pcgrad", "space": "features"})
    assert made["cost"] == 1


def test_members_of_a_hybrid_count_as_one_term():
    inner = {"kind": "hybrid", "objectives": {"mim": MIM, "apart": {"kind": "koleo", "masker": HALF}}}
    listed, made = found({"both": inner, "contrast": CONTRAST}, balance={"kind": "pcgrad"})
    assert listed[0]["for"] == ["both/mim", "both/apart"]
    assert made["terms"] == {"both": pytest.approx(MASKED / (WHOLE * 4 / 3), abs=1e-4), "contrast": 1}
    assert made["cost"] == pytest.approx(1 + MASKED / (WHOLE * 4 / 3), abs=1e-4), "no two terms share a pass"


def test_what_a_masker_looks_at_is_its_objectives():
    """The teacher's pass is shared with the term that learns from it; that term alone runs it too."""
    guided = {**MIM, "masker": {"kind": "attention", "ratio": 0.5}}
    listed, made = found({"mim": guided, "contrast": CONTRAST})
    assert [(one["net"], one["guide"], one["for"]) for one in listed] == [
        ("teacher", True, ["mim", "contrast"]),
        ("student", False, ["mim"]),
        ("student", False, ["contrast"]),
    ]
    assert (made["asked"], made["run"]) == (4, 3)
    assert made["terms"]["mim"] == pytest.approx((MASKED + WHOLE / 3) / (WHOLE * 4 / 3), abs=1e-4)
