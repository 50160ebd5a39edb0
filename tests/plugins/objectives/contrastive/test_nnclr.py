"""NNCLR against solo-learn and lightly, and in runs."""

from __future__ import annotations

import pytest
import torch

from sslkit import NNCLR, losses
from sslkit.errors import SpecError
from sslkit.functional.info_nce import nearest, unit
from tests.plugins.objectives.joint_embedding import parts

SMALL = {"kind": "nnclr", "projector": parts.HEAD, "predictor": parts.HEAD, "support": 64}


class Fixed(torch.nn.Module):
    """A head that says what it is told."""

    def __init__(self, *crops):
        super().__init__()
        self.crops = torch.stack(crops)

    def per_crop(self, x):
        return self.crops


def objective_of(arrays, dtype):
    """What solo-learn was given: projections, predictions and a support set."""
    spec = NNCLR(projector={"hidden": 8, "out": 6}, predictor={"hidden": 8, "out": 6}, support=12)
    objective = spec.build(parts.env(6))
    objective.projector = parts.Passing()
    values = [arrays[name].to(dtype).requires_grad_() for name in ("p1", "p2")]
    objective.predictor = Fixed(*values)
    objective.support.rows.copy_(arrays["queue"])
    objective.support.rows = arrays["queue"].to(dtype)
    return objective, values


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_loss_and_gradients_are_solo_learns(dtype, golden):
    arrays, limit = golden("nnclr_loss"), parts.TOLERANCE[dtype]
    objective, predictions = objective_of(arrays, dtype)
    z = parts.pair(arrays, dtype, "z1", "z2")
    output = parts.loss_of(objective, z)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(arrays["loss"].item(), abs=limit)
    for name, p in zip(("grad_p1", "grad_p2"), predictions, strict=True):
        torch.testing.assert_close(p.grad, arrays[name].to(dtype), rtol=0, atol=limit)
    assert z.grad is None, "neighbors carry none"


def test_the_first_crops_embeddings_enter_the_support_set_after_the_lookup(golden):
    arrays = golden("nnclr_loss")
    objective, _ = objective_of(arrays, torch.float64)
    output = parts.loss_of(objective, parts.pair(arrays, torch.float64, "z1", "z2"))
    assert torch.equal(objective.support(), arrays["queue"]), "forward is pure"
    objective.commit(output.carry)
    z1 = torch.nn.functional.normalize(arrays["z1"], dim=-1)
    torch.testing.assert_close(objective.support()[:5], z1)
    assert torch.equal(objective.support()[5:], arrays["queue"][5:])


def test_neighbors_are_solo_learns(golden):
    arrays = golden("nnclr_loss")
    for crop in "12":
        assert torch.equal(nearest(unit(arrays[f"z{crop}"]), arrays["queue"]), arrays[f"nn{crop}"])


def test_the_function_is_the_objectives_and_lightlys_is_another(golden):
    """Lightly's recipe is NT-Xent of neighbors and predictions, which has negatives of both."""
    arrays = golden("nnclr_loss")
    z, p = (torch.stack([arrays[f"{k}1"], arrays[f"{k}2"]]) for k in "zp")
    assert losses.nnclr(z, p, arrays["queue"]).item() == pytest.approx(arrays["loss"].item(), abs=1e-10)
    lightly = [losses.nt_xent(torch.stack([arrays[f"nn{v}"], arrays[f"p{u}"]])) for v, u in ("12", "21")]
    assert sum(lightly).item() / 2 == pytest.approx(arrays["loss_lightly"].item(), abs=1e-10)
    assert abs(arrays["loss_lightly"] - arrays["loss"]) > 1


def test_defaults_are_those_of_the_references():
    """solo-learn `methods/nnclr.py`; temperature 0.1 of the paper."""
    spec = NNCLR()
    assert (spec.temperature, spec.support) == (0.1, 65536)
    with torch.device("meta"):
        objective = spec.build(parts.env(512))
    kinds = [type(m).__name__ for m in objective.projector.layers]
    assert kinds == ["Linear", "BatchNorm", "ReLU"] * 2 + ["Linear", "BatchNorm"]
    widths = [m.out_features for m in objective.predictor.layers if isinstance(m, torch.nn.Linear)]
    assert widths == [4096, 256]


def test_it_learns_and_does_not_collapse():
    first, last, values = parts.learn(SMALL, nets={})
    assert last < first - 0.3
    assert values["nnclr/feature_std"] > 0.5
    assert values["nnclr/loss_share"] < 1.1
    assert 0 < values["nnclr/neighbor"] <= 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"support": 8}, "objective.support: 8 places do not hold the 32 embeddings of one step"),
        ({"predictor": {"out": 4}}, "objective.predictor.out: 4 differs from that of `projector`, 8"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        parts.run_of({**SMALL, **fields}, nets={})
