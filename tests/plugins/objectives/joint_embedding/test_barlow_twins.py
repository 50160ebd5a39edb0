"""Barlow Twins: what it takes from facebookresearch/barlowtwins."""

from __future__ import annotations

import pytest
import torch

from sslkit import BarlowTwins
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from sslkit.functional.joint_embedding_losses import correlation_loss, standardized
from tests.plugins.objectives.joint_embedding import parts

SMALL = {"kind": "barlow_twins", "projector": parts.HEAD}


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_the_loss_is_that_of_the_reference(dtype, golden):
    """Golden barlowtwins_loss: `BarlowTwins.forward` of the official code, with its gradients."""
    arrays, limit = golden("barlowtwins_loss"), parts.TOLERANCE[dtype]
    z = parts.pair(arrays, dtype, "z1", "z2")
    found = parts.loss_of(parts.bare(BarlowTwins.example(), "projector"), z).loss
    found.backward()
    assert found.item() == pytest.approx(float(arrays["loss"]), abs=limit)
    assert found.item() == pytest.approx(float(arrays["lightly_value"]), abs=1e-3)
    expected = parts.pair(arrays, dtype, "grad_z1", "grad_z2").detach()
    torch.testing.assert_close(z.grad, expected, rtol=0, atol=limit)


def test_dimensions_are_standardized_as_batch_norm_does():
    """`self.bn`, without scale and shift."""
    x = 3 + 5 * parts.random(2, 9, 6)
    expected = [torch.nn.functional.batch_norm(crop, None, None, training=True) for crop in x]
    torch.testing.assert_close(standardized(x), torch.stack(expected), rtol=0, atol=1e-12)


def test_independent_and_equal_dimensions_cost_nothing():
    """Orthogonal columns of mean 0: C is the identity. Equal columns: every correlation is 1."""
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    assert correlation_loss(signs, signs, 0.5).item() == pytest.approx(0, abs=1e-12)
    equal = signs[:, :1].expand(-1, 3)
    assert correlation_loss(equal, equal, 0.5).item() == pytest.approx(0.5 * 6)
    assert correlation_loss(signs, -signs, 0.5).item() == pytest.approx(3 * 4)


def test_the_scale_and_the_weight_are_factors():
    z = parts.random(2, 9, 12)
    plain, scaled, heavier = (
        parts.loss_of(parts.bare(BarlowTwins(projector=parts.HEAD, **fields), "projector"), z).loss.item()
        for fields in ({}, {"scale": 0.1}, {"redundancy": 0.0102})
    )
    assert scaled == pytest.approx(0.1 * plain)
    diagonal = parts.loss_of(
        parts.bare(BarlowTwins(projector=parts.HEAD, redundancy=0), "projector"), z
    ).loss.item()
    assert heavier - plain == pytest.approx(plain - diagonal)


def test_more_crops_make_more_pairs():
    z = parts.random(3, 9, 12)
    objective = parts.bare(BarlowTwins.example(), "projector")
    pairs = [parts.loss_of(objective, z[[i, j]]).loss for i, j in ((0, 1), (0, 2), (1, 2))]
    assert parts.loss_of(objective, z).loss.item() == pytest.approx(torch.stack(pairs).mean().item())


def test_defaults_are_those_of_the_reference():
    """`main.py`: `--projector 8192-8192-8192`, `--lambd 0.0051`, linear layers without bias, no norm last."""
    spec = BarlowTwins()
    assert (spec.redundancy, spec.scale) == (0.0051, 1.0)
    with torch.device("meta"):
        objective = spec.build(parts.env(2048))
    assert objective.passes == (Encode("global"),)
    kinds = [type(m).__name__ for m in objective.projector.layers]
    assert kinds == ["Linear", "BatchNorm", "ReLU", "Linear", "BatchNorm", "ReLU", "Linear"]
    linears = [m for m in objective.projector.layers if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linears] == [8192] * 3
    assert all(m.bias is None for m in linears)


def test_it_learns():
    first, last, values = parts.learn(SMALL, nets={})
    assert last < 0.7 * first
    assert values["barlow_twins/feature_std"] > 0.6


def test_a_negative_weight_is_refused():
    with pytest.raises(SpecError, match=r"redundancy: .* greater than or equal to 0"):
        BarlowTwins(redundancy=-1)
