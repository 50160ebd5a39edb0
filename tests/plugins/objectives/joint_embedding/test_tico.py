"""TiCo against lightly and a public repository, and in runs."""

from __future__ import annotations

import pytest
import torch

from sslkit import TiCo, losses
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from tests.plugins.objectives.joint_embedding import parts

SMALL = {"kind": "tico", "projector": parts.HEAD}
BEFORE = {"teacher": {"momentum": 0.9, "update": "before_forward"}}


def objective_of(dtype=torch.float64, width=6, **fields):
    objective = TiCo(projector={"hidden": 8, "out": width}, contrast=20, **fields).build(parts.env(width))
    objective.projector = objective.key_projector = parts.Passing()
    return objective.to(dtype)


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_three_steps_are_lightlys(dtype, golden):
    """Second moments include the step's own batch, and only the online embeddings'."""
    arrays, limit = golden("tico_loss"), parts.TOLERANCE[dtype]
    objective = objective_of(dtype)
    for step in range(3):
        z1 = arrays[f"z1_{step}"].to(dtype).requires_grad_()
        z2 = arrays[f"z2_{step}"].to(dtype).requires_grad_()
        unused = torch.full_like(z1, 7.0)
        output = parts.loss_of(objective, torch.stack([z1, unused]), torch.stack([unused, z2]))
        output.loss.backward()
        assert output.loss.item() == pytest.approx(arrays[f"loss_{step}"].item(), abs=limit)
        assert output.loss.item() - 1 == pytest.approx(arrays[f"loss_repo_{step}"].item(), abs=limit)
        torch.testing.assert_close(z1.grad, arrays[f"grad_z1_{step}"].to(dtype), rtol=0, atol=limit)
        assert z2.grad is None, "a moving average made it"
        objective.commit(output.carry)
        torch.testing.assert_close(objective.moments, arrays[f"C_after_{step}"].to(dtype), rtol=0, atol=limit)


def test_the_function_is_the_objectives(golden):
    arrays = golden("tico_loss")
    z1, z2 = arrays["z1_1"].requires_grad_(), arrays["z2_1"].requires_grad_()
    loss = losses.tico(z1, z2, arrays["C_after_1"], 20)
    loss.backward()
    assert loss.item() == pytest.approx(arrays["loss_1"].item(), abs=1e-10)
    torch.testing.assert_close(z1.grad, arrays["grad_z1_1"], rtol=0, atol=1e-10)
    torch.testing.assert_close(z2.grad, arrays["grad_z2_1"], rtol=0, atol=1e-10)


def test_keys_of_another_view_need_no_second_crop():
    one = objective_of(width=12, key_view="local")
    assert one.passes == (Encode("global"), Encode("local", net="teacher"))
    assert one.crops == {"global": 1, "local": 1}
    two = objective_of(width=12)
    z = parts.random(2, 9, 12)
    apart = parts.loss_of(one, z[:1], z[1:]).loss
    torch.testing.assert_close(apart, parts.loss_of(two, z, z).loss)


def test_both_directions_share_second_moments():
    z, keys = parts.random(2, 9, 12), parts.random(2, 9, 12, seed=1)
    output = parts.loss_of(objective_of(width=12, symmetric=True), z, keys)
    units = torch.nn.functional.normalize(z, dim=-1)
    moments = 0.1 * units.flatten(0, 1).mT @ units.flatten(0, 1) / 18
    torch.testing.assert_close(output.carry["moments"][0], moments)
    each = [losses.tico(z[i], keys[1 - i], moments, 20) for i in range(2)]
    torch.testing.assert_close(output.loss, (each[0] + each[1]) / 2)


def test_defaults_are_lightlys():
    spec = TiCo()
    assert (spec.contrast, spec.memory, spec.symmetric) == (8.0, 0.9, False)
    with torch.device("meta"):
        layers = spec.build(parts.env(512)).projector.layers
    linears = [m for m in layers if isinstance(m, torch.nn.Linear)]
    assert [(m.out_features, m.bias is not None) for m in linears] == [(4096, False), (256, True)]


def test_it_learns_and_without_its_contrast_it_collapses():
    """The loss itself rises while second moments fill up from 0."""
    rate = {"lr": 0.03}
    _, _, values = parts.learn(SMALL, nets=BEFORE, optimizer=rate)
    assert values["tico/invariance"] < -0.2
    assert values["tico/contrast"] < 0.25, "1/8 at best"
    assert values["tico/feature_std"] > 0.7
    _, _, alike = parts.learn({**SMALL, "contrast": 0.0}, nets=BEFORE, optimizer=rate)
    assert alike["tico/contrast"] > 0.5
    assert alike["tico/feature_std"] < 0.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key_view": "global"}, "objective.key_view: is `view` itself; leave it out"),
        ({"key_view": "global", "symmetric": True}, "objective.key_view: goes with `symmetric: false`"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        parts.run_of({**SMALL, **fields}, nets=BEFORE)


def test_a_missing_net_is_told_with_its_settings():
    with pytest.raises(SpecError, match="update: before_forward"):
        parts.run_of(SMALL, nets={})
