"""MSN's loss against facebookresearch/msn and lightly."""

from __future__ import annotations

import math

import pytest
import torch

from sslkit import losses
from sslkit.functional.info_nce import unit
from sslkit.functional.masked_siamese import msn_terms, sharpened

ITERATIONS = {"plain": 0, "sinkhorn": 3}


def inputs(arrays, dtype):
    names = ("anchors", "targets", "prototypes")
    anchors, targets, prototypes = (arrays[name].to(dtype).requires_grad_() for name in names)
    return anchors, targets, prototypes


def terms_of(arrays, case, dtype):
    anchors, targets, prototypes = inputs(arrays, dtype)
    goal = sharpened(unit(targets) @ unit(prototypes).mT, 0.1, 0.25, ITERATIONS[case])
    return goal, msn_terms(unit(anchors.unflatten(0, (3, 4))) @ unit(prototypes).mT, goal, 0.1)


@pytest.mark.parametrize("case", ITERATIONS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
def test_terms_are_the_references(case, dtype, limit, golden):
    """Targets are sharpened first, then scaled as they are; `me_max` is ln K less an entropy."""
    arrays = golden("msn_loss")
    goal, terms = terms_of(arrays, case, dtype)
    torch.testing.assert_close(goal.repeat(3, 1), arrays[f"targets_{case}"].to(dtype), rtol=0, atol=limit)
    assert terms["prediction"].item() == pytest.approx(arrays[f"ploss_{case}"].item(), abs=limit)
    assert terms["me_max"].item() == pytest.approx(arrays[f"memax_{case}"].item(), abs=limit)


@pytest.mark.parametrize("case", ITERATIONS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
def test_loss_and_gradients_are_the_references(case, dtype, limit, golden):
    arrays = golden("msn_loss")
    anchors, targets, prototypes = inputs(arrays, dtype)
    loss = losses.msn(anchors.unflatten(0, (3, 4)), targets, prototypes, iterations=ITERATIONS[case])
    loss.backward()
    lightly = arrays["lightly_default" if case == "sinkhorn" else "lightly_no_sinkhorn"]
    assert loss.item() == pytest.approx(lightly.item(), abs=limit)
    for name, leaf in (("anchors", anchors), ("prototypes", prototypes)):
        wanted = arrays[f"grad_{name}_{case}"].to(dtype)
        torch.testing.assert_close(leaf.grad, wanted, rtol=0, atol=limit)
    assert targets.grad is None, "targets carry none"


def test_the_entropy_of_anchors_is_zero_where_they_are_certain():
    cosines = torch.eye(4, dtype=torch.float64)[None]
    terms = msn_terms(cosines, torch.eye(4, dtype=torch.float64), 0.01)
    assert terms["entropy"].item() == pytest.approx(0, abs=1e-12)
    assert terms["me_max"].item() == pytest.approx(0, abs=1e-12), "every prototype is used"
    one = msn_terms(cosines[:, :1].expand(-1, 4, -1), torch.eye(4, dtype=torch.float64), 0.01)
    assert one["me_max"].item() == pytest.approx(math.log(4)), "one takes all"


def test_sinkhorn_does_not_overflow_where_probabilities_vanish():
    cosines = torch.tensor([[1.0, -1.0], [1.0, -0.9]])
    goal = sharpened(cosines, 0.01, 0.1, 3)
    torch.testing.assert_close(goal.sum(1), torch.ones(2))
    assert goal[1, 1] > 0.8, "the one that is closer to the unused prototype takes it"


def test_the_mean_prediction_is_the_mean_of_the_golden(golden):
    """PMSN needs it: lightly computes KL(prior, mean), its paper's limit is KL(mean, prior)."""
    arrays = golden("msn_loss")
    anchors, _, prototypes = inputs(arrays, torch.float64)
    mean = (unit(anchors) @ unit(prototypes).mT / 0.1).softmax(-1).mean(0)
    torch.testing.assert_close(mean, arrays["mean_probs"])
    prior = arrays["power_law"]
    assert (prior * (prior / mean).log()).sum().item() == pytest.approx(arrays["kl_prior_from_mean"].item())
    assert (mean * (mean / prior).log()).sum().item() == pytest.approx(arrays["kl_mean_from_prior"].item())
