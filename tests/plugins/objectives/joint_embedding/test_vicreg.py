"""VICReg: what it takes from facebookresearch/vicreg."""

from __future__ import annotations

import pytest
import torch

from sslkit import VICReg
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from sslkit.functional.joint_embedding_losses import vicreg_terms
from tests.plugins.objectives.joint_embedding import parts

SMALL = {"kind": "vicreg", "projector": parts.HEAD}


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_the_loss_is_that_of_the_reference(dtype, golden):
    """Golden vicreg_loss: `VICReg.forward` of the official code, its terms and its gradients."""
    arrays, limit = golden("vicreg_loss"), parts.TOLERANCE[dtype]
    z = parts.pair(arrays, dtype, "z1", "z2")
    found = parts.loss_of(parts.bare(VICReg.example(), "projector"), z)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(float(arrays["loss"]), abs=limit)
    for name, value in zip(("invariance", "variance", "covariance"), arrays["parts"], strict=True):
        assert found.metrics[name].item() == pytest.approx(float(value), abs=limit)
        assert not found.metrics[name].requires_grad
    expected = parts.pair(arrays, dtype, "grad_z1", "grad_z2").detach()
    torch.testing.assert_close(z.grad, expected, rtol=0, atol=limit)


def test_each_weight_is_of_its_term():
    z = parts.random(2, 9, 12)
    terms = {name: value.item() for name, value in vicreg_terms(z).items()}
    for name, value in terms.items():
        weights = dict.fromkeys(terms, 0.0) | {name: 3.0}
        found = parts.loss_of(parts.bare(VICReg(projector=parts.HEAD, **weights), "projector"), z).loss
        assert found.item() == pytest.approx(3 * value)


def test_terms_of_features_whose_answers_are_known():
    """Equal crops of orthogonal dimensions with deviation above 1 cost nothing; constant features the whole hinge."""
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    spread = vicreg_terms(2 * signs.expand(2, -1, -1))
    assert [value.item() for value in spread.values()] == pytest.approx([0, 0, 0], abs=1e-12)
    constant = vicreg_terms(torch.ones(2, 4, 3, dtype=torch.float64))
    assert constant["variance"].item() == pytest.approx(1 - 1e-2)
    apart = vicreg_terms(torch.stack([signs, signs + 2]))
    assert apart["invariance"].item() == pytest.approx(4)


def test_more_crops_make_more_pairs():
    z = parts.random(3, 9, 12)
    pairs = [vicreg_terms(z[[i, j]]) for i, j in ((0, 1), (0, 2), (1, 2))]
    for name, value in vicreg_terms(z).items():
        assert value.item() == pytest.approx(torch.stack([pair[name] for pair in pairs]).mean().item())


def test_defaults_are_those_of_the_reference():
    """`main_vicreg.py`: `--mlp 8192-8192-8192`, weights 25, 25, 1; biases in all layers but the last."""
    spec = VICReg()
    assert (spec.invariance, spec.variance, spec.covariance) == (25, 25, 1)
    with torch.device("meta"):
        objective = spec.build(parts.env(2048))
    assert objective.passes == (Encode("global"),)
    kinds = [type(m).__name__ for m in objective.projector.layers]
    assert kinds == ["Linear", "BatchNorm", "ReLU", "Linear", "BatchNorm", "ReLU", "Linear"]
    linears = [m for m in objective.projector.layers if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linears] == [8192] * 3
    assert [m.bias is not None for m in linears] == [True, True, False]


def test_it_learns():
    first, last, values = parts.learn(SMALL, nets={})
    assert last < first - 1
    assert values["vicreg/feature_std"] > 0.6


def test_a_negative_weight_is_refused():
    with pytest.raises(SpecError, match=r"variance: .* greater than or equal to 0"):
        VICReg(variance=-1)
