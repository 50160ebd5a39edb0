"""DenseCL: its heads, its queues, and runs. Its loss is in tests/functional."""

from __future__ import annotations

import pytest
import torch

from sslkit import DenseCL
from sslkit.core.passes import Encode, Tokens
from sslkit.errors import SpecError
from tests.plugins.objectives.joint_embedding import parts

SMALL = {"kind": "dense_cl", "projector": parts.HEAD, "dense_projector": parts.HEAD, "queue": 64}


def bare(arrays, dtype):
    """An objective whose heads say what the reference's did."""
    head = {"layers": 1, "out": 5}
    spec = DenseCL(projector=head, dense_projector=head, queue=12)
    objective = spec.build(parts.env(7)).to(dtype)
    for name, queue in (("queue", "queue"), ("dense_queue", "queue2")):
        getattr(objective, name).rows.copy_(arrays[queue].mT)
    return objective


class Says(torch.nn.Module):
    """A head that says what it is told."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value

    def per_crop(self, x):
        return self.value[None]


def tokens_of(patches_BND):
    """Two crops of the same features."""
    both = patches_BND.expand(2, *patches_BND.shape)
    image = torch.zeros(2, len(patches_BND), 1, 8, 8)
    return Tokens(image, both.mean(-2), both, None, ())


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_loss_gradients_and_what_enters_the_queues_are_the_references(dtype, golden):
    arrays, limit = golden("densecl_loss"), parts.TOLERANCE[dtype]
    objective = bare(arrays, dtype)
    q = arrays["q"].to(dtype).requires_grad_()
    grid = arrays["q_grid"].to(dtype).requires_grad_()
    objective.projector, objective.dense_projector = Says(q), Says(grid.mT)
    objective.key_projector = Says(arrays["k"].to(dtype))
    objective.key_dense_projector = Says(arrays["k_grid"].to(dtype).mT)
    features = [arrays[name].to(dtype).flatten(2).mT for name in ("q_backbone", "k_backbone")]
    output = objective({}, *map(tokens_of, features))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(arrays["loss"].item(), abs=limit)
    torch.testing.assert_close(q.grad, arrays["grad_q"].to(dtype), rtol=0, atol=limit)
    torch.testing.assert_close(grid.grad, arrays["grad_q_grid"].to(dtype), rtol=0, atol=limit)
    objective.commit(output.carry)
    wanted = arrays["enqueued_single"].to(dtype)
    torch.testing.assert_close(objective.queue()[:3], wanted, rtol=0, atol=limit)
    pooled = torch.nn.functional.normalize(arrays["k_grid"].to(dtype).mean(-1), dim=-1)
    torch.testing.assert_close(objective.dense_queue()[:3], pooled, rtol=0, atol=limit)
    assert torch.equal(objective.dense_queue()[3:], arrays["queue2"].mT.to(dtype)[3:])


def test_a_pooled_key_of_the_golden_enters_at_length_1(golden):
    """The reference pools its key's map apart, in the golden by another array, `k2`."""
    arrays = golden("densecl_loss")
    unit = torch.nn.functional.normalize(arrays["k2"], dim=-1)
    torch.testing.assert_close(unit, arrays["enqueued_dense"], rtol=0, atol=1e-10)


def test_defaults_are_those_of_the_reference():
    """`configs/selfsup/densecl`, `DenseCLNeck`."""
    spec = DenseCL()
    assert (spec.temperature, spec.queue, spec.dense_weight) == (0.2, 65536, 0.5)
    with torch.device("meta"):
        objective = spec.build(parts.env(2048))
    assert objective.passes == (Encode("global"), Encode("global", net="teacher"))
    for head in (objective.projector, objective.dense_projector):
        assert [type(m).__name__ for m in head.layers] == ["Linear", "ReLU", "Linear"]
        assert [m.out_features for m in head.layers[::2]] == [2048, 128]
    assert not any(p.requires_grad for p in objective.key_dense_projector.parameters())


def test_it_learns_to_match_and_a_rate_too_high_leaves_a_guess():
    *_, values = parts.learn(SMALL, optimizer={"lr": 0.01})
    assert values["dense_cl/dense_accuracy"] > 0.3
    assert values["dense_cl/feature_std"] > 0.1
    *_, broken = parts.learn(SMALL, optimizer={"lr": 1.0})
    assert broken["dense_cl/feature_std"] < 0.05


def test_keys_of_the_view_of_queries_are_refused():
    with pytest.raises(SpecError, match="key_view: is `view` itself; leave it out"):
        parts.run_of({**SMALL, "key_view": "global"})
