"""Objectives on several clips against SlowFast's rho-MoCo and rho-BYOL, and V-JEPA 2."""

from __future__ import annotations

import pytest
import torch

from sslkit.core.masker import mask_of
from sslkit.core.passes import Tokens
from sslkit.core.view import Grid
from sslkit.functional.feature_targets import plain_layer_norm
from sslkit.functional.regression_losses import regression
from sslkit_video.rope_predictor import RopePredictor
from sslkit_video.rotations import rotated
from sslkit_video.specs.temporal import TemporalBYOL, TemporalInfoNCE
from tests.plugins.objectives.joint_embedding import parts

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
CLIPS = 3


def leaf(values, dtype):
    return values.to(dtype).clone().requires_grad_()


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_the_loss_of_clips_is_rho_moco_s(golden, dtype, bound):
    """The mean over pairs of clips; the reference adds up gradients over its 3 query clips."""
    arrays = golden("rho_byol_moco")
    spec = TemporalInfoNCE(net="teacher", queue=12, projector={"hidden": 5, "out": 5})
    objective = parts.bare(spec, "projector", "key_projector").to(dtype)
    objective.queue.rows.copy_(arrays["queue_before"].to(dtype))
    queries, keys = leaf(arrays["proj"], dtype), arrays["keys"].to(dtype)
    output = parts.loss_of(objective, queries, keys)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(float(arrays["loss_each_moco"].mean()), abs=bound)
    torch.testing.assert_close(CLIPS * queries.grad, arrays["grad_moco"].to(dtype), rtol=0, atol=bound)
    assert output.carry["keys"].shape[1] == 1  # of the first clip only


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_the_loss_of_clips_is_rho_byol_s(golden, dtype, bound):
    """BYOL's 2 - 2 cos, twice its mean over pairs: the reference's -2 cos is half of it less 2, its gradient 3 / 2."""
    arrays = golden("rho_byol_moco")
    objective = parts.bare(TemporalBYOL.example(), "projector", "predictor", "goal_projector")
    predictions, goals = leaf(arrays["pred"], dtype), arrays["keys"].to(dtype)
    output = parts.loss_of(objective, predictions, goals)
    output.loss.backward()
    assert output.loss.item() / 2 - 2 == pytest.approx(float(arrays["loss_each_byol"].mean()), abs=bound)
    expected = arrays["grad_byol"].to(dtype) * 2 / CLIPS
    torch.testing.assert_close(predictions.grad, expected, rtol=0, atol=bound)


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_rotations_are_those_of_v_jepa_2(golden, dtype, bound):
    arrays = golden("vjepa2_forward_tiny")
    turned = rotated(arrays["rope_in"].to(dtype), arrays["rope_pos"])
    torch.testing.assert_close(turned, arrays["rope_out"].to(dtype), rtol=0, atol=bound)


def predictor_of(arrays, dtype):
    """The reference's, by its names."""
    model = RopePredictor(28, 24, 2, 2, Grid.of((3, 3, 3), (2, 4, 4)), 28, 2.0).to(dtype)
    names = {"predictor_proj.": "head.", "mask_tokens.0": "mask_token", "predictor_": "", "attn.": ""}
    ours = {}
    for key, value in arrays.items():
        if key.startswith("sd_pred.") and not key.endswith("mask_tokens.1"):
            name = key.removeprefix("sd_pred.")
            for old, new in names.items():
                name = name.replace(old, new)
            ours[name] = value.to(dtype)
    model.load_state_dict(ours)
    return model


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_the_predictor_and_its_gradients_are_those_of_v_jepa_2(golden, dtype, bound):
    arrays = golden("vjepa2_forward_tiny")
    model, losses = predictor_of(arrays, dtype), []
    for number in range(2):
        kept, wanted = arrays[f"mask_enc_{number}"], arrays[f"mask_pred_{number}"]
        hidden = torch.ones(2, 27, dtype=torch.bool).scatter(1, kept, False)
        mask = mask_of(hidden[None], kept.shape[1], 27 - kept.shape[1], wanted[None, :, None])
        order = kept.argsort(1)[..., None]
        context = arrays[f"context_{number}"].to(dtype).gather(1, order.expand(-1, -1, 28))
        tokens = Tokens(torch.zeros(1, 2, 3, 6, 12, 12), context.mean(1)[None], context[None], mask, ())
        guess = model(tokens, mask.of_targets())
        expected = arrays[f"pred_{number}"].flatten(0, 1).to(dtype)
        assert (guess - expected).abs().max() <= bound * expected.abs().max().clamp(min=1)
        goal = mask.of_targets().pick(plain_layer_norm(arrays["target_raw"].to(dtype))[None])
        losses.append(mask.of_targets().mean(regression(guess, goal, "l1")))
    loss = torch.stack(losses).mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss"]), abs=bound)
    grads = {name: p.grad for name, p in model.named_parameters()}
    for ours, theirs in {
        "embed.weight": "predictor_embed.weight",
        "mask_token": "mask_tokens.0",
        "blocks.0.qkv.weight": "predictor_blocks.0.attn.qkv.weight",
        "blocks.1.mlp.fc2.bias": "predictor_blocks.1.mlp.fc2.bias",
        "head.weight": "predictor_proj.weight",
    }.items():
        torch.testing.assert_close(
            grads[ours], arrays[f"grad_pred.{theirs}"].to(dtype), rtol=0, atol=10 * bound
        )


def test_masks_weigh_the_same_whatever_their_size(golden):
    """Golden vjepa2_masks_loss: the mean over masks of their own means."""
    arrays = golden("vjepa2_masks_loss")
    losses = [regression(arrays[f"z_{i}"], arrays[f"h_{i}"], "l1").mean() for i in range(3)]
    assert torch.stack(losses).mean().item() == pytest.approx(float(arrays["loss_exp1"]), abs=1e-12)
