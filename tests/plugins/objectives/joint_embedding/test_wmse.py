"""W-MSE against htdt/self-supervised and lightly, and in runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import WMSE, losses
from sslkit.errors import SpecError
from sslkit.functional.whitening import whiten
from tests.plugins.objectives.joint_embedding import parts

SMALL = {"kind": "wmse", "projector": {"hidden": 16, "out": 4}, "size": 16}
CASES = {"loss_eps0": (0.0, True), "loss_eps01": (0.1, True),
         "loss_mse_eps0": (0.0, False), "loss_mse_eps01": (0.1, False)}  # fmt: skip


class Given(nn.Module):
    """Stands for the orders of a step."""

    def __init__(self, orders):
        super().__init__()
        self.orders = orders

    def forward(self, now, count, length):
        return self.orders


def objective_of(arrays, **fields):
    objective = WMSE(projector={"hidden": 8, "out": 4}, size=12, **fields).build(parts.env(4))
    objective.projector, objective.order = parts.Passing(), Given(arrays["perm"][None])
    return objective


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_the_references(dtype, case, golden):
    arrays, limit = golden("wmse_loss"), parts.TOLERANCE[dtype]
    eps, normalize = CASES[case]
    h = arrays["h"].to(dtype).requires_grad_()
    output = parts.loss_of(objective_of(arrays, eps=eps, normalize=normalize), h.view(2, 24, 4))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(arrays[case].item(), abs=limit)
    if normalize:
        expected = arrays[case.replace("loss", "grad")].to(dtype)
        torch.testing.assert_close(h.grad, expected, rtol=0, atol=10 * limit)


def test_a_group_is_whitened_as_the_references(golden):
    arrays = golden("wmse_loss")
    first = whiten(arrays["h"][:24][arrays["perm"][:12]])
    torch.testing.assert_close(first, arrays["whitened_first"], rtol=0, atol=1e-10)
    covariance = first.T @ first / 11
    torch.testing.assert_close(covariance, torch.eye(4, dtype=torch.float64))
    assert first.mean(0).abs().max() < 1e-12


def test_too_few_images_give_nan_and_not_noise():
    """The guard against losses that are not finite then says so; `problems` refuses it before."""
    assert whiten(torch.ones(5, 4)).isnan().all()
    both = whiten(torch.stack([torch.ones(8, 4), parts.random(8, 4).float()]))
    assert both[0].isnan().all()
    assert both[1].isfinite().all()


def test_the_function_is_the_objectives(golden):
    arrays = golden("wmse_loss")
    rows = arrays["h"].view(2, 24, 4)[:, arrays["perm"]]
    assert losses.wmse(rows, 12).item() == pytest.approx(arrays["loss_eps0"].item(), abs=1e-10)


def test_four_crops_are_all_pairs():
    z = parts.random(4, 12, 3)
    pairs = [losses.wmse(z[[i, j]], 6) for i in range(4) for j in range(i)]
    torch.testing.assert_close(losses.wmse(z, 6), sum(pairs) / 6)
    squares = [losses.wmse(z[[i, j]], 6, normalize=False) for i in range(4) for j in range(i)]
    torch.testing.assert_close(losses.wmse(z, 6, normalize=False), sum(squares) / 6)


def test_orders_are_new_at_each_step_and_equal_after_a_resume():
    torch.manual_seed(3)
    order = WMSE(**SMALL).build(parts.env()).order
    now = [{"step": torch.tensor(float(step))} for step in (0, 1)]
    drawn = [order(step, 2, 40) for step in now]
    assert all(torch.equal(row.sort().values, torch.arange(40)) for rows in drawn for row in rows)
    assert len(torch.cat(drawn).unique(dim=0)) == 4
    again = WMSE(**SMALL).build(parts.env()).order
    again.load_state_dict(order.state_dict())
    assert torch.equal(again(now[1], 2, 40), drawn[1])


def test_defaults_are_the_references():
    """`cfg.py`: --emb 64, --w_size 128, --w_iter 1, --w_eps 0, --head_size 1024."""
    spec = WMSE()
    assert (spec.size, spec.draws, spec.eps, spec.normalize) == (128, 1, 0.0, True)
    with torch.device("meta"):
        layers = spec.build(parts.env(512)).projector.layers
    assert [type(m).__name__ for m in layers] == ["Linear", "BatchNorm", "ReLU", "Linear"]
    assert [m.out_features for m in layers if isinstance(m, nn.Linear)] == [1024, 64]


def test_it_learns_and_cannot_collapse():
    first, last, values = parts.learn({**SMALL, "size": 32}, nets={}, optimizer={"lr": 0.03})
    assert last < first - 0.1
    assert values["wmse/feature_std"] > 0.3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 12}, "objective.size: 12 does not divide the batch of 32 images"),
        ({"size": 4}, "objective.size: 4 images have no invertible covariance of 4 dimensions"),
        ({"size": None, "draws": 2}, "objective.draws: has no effect where the whole batch is one group"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        parts.run_of({**SMALL, **fields}, nets={})
