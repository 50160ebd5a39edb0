"""SimSiam: what it takes from facebookresearch/simsiam."""

from __future__ import annotations

import pytest
import torch

from sslkit import SimSiam
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from tests.plugins.objectives.joint_embedding import parts

SMALL = {"kind": "simsiam", "projector": parts.HEAD, "predictor": parts.HEAD}


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_the_loss_is_that_of_the_reference(dtype, golden, monkeypatch):
    """Golden byol_loss: half the sum of -cos of both directions, as `main_simsiam.py` and lightly have it."""
    arrays, limit = golden("byol_loss"), parts.TOLERANCE[dtype]
    p, z = (parts.pair(arrays, dtype, f"{n}1", f"{n}2").detach() for n in "pz")
    objective = parts.bare(SimSiam.example(), "projector", "predictor")
    monkeypatch.setattr(objective.predictor, "per_crop", lambda embeddings: p)
    found = parts.loss_of(objective, z).loss
    assert found.item() == pytest.approx(float(arrays["lightly_value"]), abs=limit)


def test_the_gradient_passes_the_predictor_only(monkeypatch):
    """`z.detach()` in `builder.py`: gradients are those with goals held fixed."""
    z, weight = parts.random(2, 5, 12).requires_grad_(), parts.random(12, 12, seed=1)
    objective = parts.bare(SimSiam.example(), "projector", "predictor")
    monkeypatch.setattr(objective.predictor, "per_crop", lambda embeddings: embeddings @ weight)
    parts.loss_of(objective, z).loss.backward()
    free = z.detach().clone().requires_grad_()
    p, goals = free @ weight, z.detach()
    loss = -0.5 * sum(torch.cosine_similarity(p[i], goals[1 - i]).mean() for i in (0, 1))
    loss.backward()
    torch.testing.assert_close(z.grad, free.grad, rtol=0, atol=1e-12)


def test_defaults_are_those_of_the_reference():
    """`builder.py:20-42` on a ResNet-50: 3 layers of its width, a plain norm last; a bottleneck of 512."""
    with torch.device("meta"):
        objective = SimSiam().build(parts.env(2048))
    assert objective.passes == (Encode("global"),)
    linears = [m for m in objective.projector.layers if isinstance(m, torch.nn.Linear)]
    assert [tuple(m.weight.shape) for m in linears] == [(2048, 2048)] * 3
    assert all(m.bias is None for m in linears)
    assert not objective.projector.layers[-1].affine
    first, norm, _, last = objective.predictor.layers
    assert (first.weight.shape, last.weight.shape) == ((512, 2048), (2048, 512))
    assert first.bias is None
    assert norm.affine
    assert last.bias is not None


def test_it_trains_without_a_teacher():
    """The loss falls by 0.28 to 0.45 with this and three other seeds."""
    first, last, values = parts.learn(SMALL, steps=80, nets={}, optimizer={"lr": 0.05})
    assert -1 <= last < first - 0.2
    assert values["simsiam/feature_std"] > 0.8


def test_heads_that_do_not_fit_are_told():
    with pytest.raises(SpecError, match=r"predictor\.out: 4 differs from that of `projector`, 8"):
        parts.run_of({**SMALL, "predictor": {"out": 4}})


def test_an_unknown_view_is_named():
    with pytest.raises(SpecError, match=r"view: 'small' is not a view of this run\. Known: global"):
        parts.run_of({**SMALL, "view": "small"})
