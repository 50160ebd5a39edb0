"""VideoMAE and MAE-ST: networks, decoder, targets and losses against arrays of the references."""

from __future__ import annotations

import pytest
import torch

from sslkit.core.passes import Tokens
from sslkit.nn.mae_decoder import PatchDecoder
from sslkit.nn.sincos import flat_positions
from sslkit.plugin import Grid
from sslkit_video.cubelets import CubeletTarget
from tests.near import beyond, error_of, relative_error
from tests.plugins.video.clips_of_golden import VIEW, below, fused, network, request, state_of

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
GRID = Grid.of((2, 2, 2), (2, 4, 4))
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def videomae(arrays, dtype):
    """Encoder and decoder with the weights of the reference, whose position tables are float32."""
    state = {name: value.to(dtype) for name, value in state_of(arrays).items()}
    encoder = network(dtype, positions="flat")
    missing = encoder.load_state_dict(fused(below(state, "encoder.")), strict=True)
    assert not missing.missing_keys
    encoder.positions.fixed = arrays["enc_pos"][0].to(dtype)
    decoder = PatchDecoder(
        12, 8, 1, 2, GRID, 96, class_token=False, bias=False, positions=arrays["dec_pos"][0], mlp_ratio=2
    ).to(dtype)
    more = {"embed.weight": state["encoder_to_decoder.weight"], "mask_token": state["mask_token"]}
    decoder.load_state_dict({**fused(below(state, "decoder.")), **more})
    decoder.positions = arrays["dec_pos"].to(dtype)
    return encoder, decoder


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_videomae_is_the_reference_to_its_gradients(golden, dtype, bound):
    """MCG-NJU/VideoMAE@14ef8d856287:modeling_pretrain.py PretrainVisionTransformer."""
    arrays = golden("videomae_forward_tiny")
    encoder, decoder = videomae(arrays, dtype)
    (tokens,) = encoder([request(arrays["videos"].to(dtype), arrays["mask"])])
    assert relative_error(tokens.patch[0], arrays["latent"]) <= bound
    predictions = decoder(tokens, tokens.mask)
    assert relative_error(predictions.reshape(3, 4, 96), arrays["pred"]) <= bound
    loss = (predictions.reshape(3, 4, 96) - arrays["target"].to(dtype)).square().mean()
    assert relative_error(loss, arrays["loss"]) <= bound
    loss.backward()
    expected = fused({key[5:]: value for key, value in arrays.items() if key.startswith("grad.")})
    ours = {f"encoder.{name}": p.grad for name, p in encoder.named_parameters()}
    renamed = {"embed.weight": "encoder_to_decoder.weight", "mask_token": "mask_token"}
    ours |= {renamed.get(name, f"decoder.{name}"): p.grad for name, p in decoder.named_parameters()}
    assert beyond(ours, expected, 10 * bound) == {}


@pytest.mark.parametrize("name", ["table_a", "table_b"])
def test_positions_along_all_patches_are_those_of_videomae(golden, name):
    """MCG-NJU/VideoMAE@14ef8d856287:modeling_finetune.py get_sinusoid_encoding_table, which is float32."""
    table = golden("videomae_pos_embed")[name]
    assert error_of(flat_positions(table.shape[1], table.shape[0]), table) <= 1e-7


def seen(arrays):
    """The clips as a view normalizes them."""
    return Tokens(arrays["videos"][None], torch.empty(0), torch.empty(0), None, ())


@pytest.mark.parametrize(("name", "normalized"), [("norm", True), ("raw", False)])
def test_cubelets_are_the_labels_of_videomae(golden, name, normalized):
    """MCG-NJU/VideoMAE@14ef8d856287:engine_for_pretraining.py train_one_epoch: [0, 1] first, channels alone."""
    arrays = golden("videomae_target_loss")
    view = VIEW._replace(**IMAGENET)
    target = CubeletTarget(GRID, view, "l2", normalized=normalized).double()
    target.mean, target.std = (
        torch.tensor(IMAGENET[k], dtype=torch.float64).reshape(3, 1, 1, 1) for k in ("mean", "std")
    )
    goal = target(seen(arrays))
    assert relative_error(goal[0], arrays[f"target_all_{name}"]) <= 1e-10
    picked = goal[0][arrays["mask"].bool()]
    guess = arrays["pred"].reshape(12, 96).requires_grad_()
    loss = target.score(guess, picked).mean()
    assert relative_error(loss, arrays[f"loss_{name}"]) <= 1e-10
    loss.backward()
    assert relative_error(guess.grad.reshape(3, 4, 96), arrays[f"grad_pred_{name}"]) <= 1e-10


@pytest.mark.parametrize("normalized", [True, False])
def test_goals_drawn_as_clips_are_the_clips(golden, normalized):
    clips = seen(golden("videomae_target_loss"))
    target = CubeletTarget(GRID, VIEW._replace(**IMAGENET), "l2", normalized=normalized).double()
    assert error_of(target.to_image(target(clips), clips), clips.image) <= 1e-9


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_a_joint_table_is_that_of_mae_st(golden, dtype, bound):
    """facebookresearch/mae_st@c5dec1bc0106:models_mae.py: no class token, masks agnostic of space and time."""
    arrays = golden("mae_st_forward_joint")
    state = {name: value.to(dtype) for name, value in state_of(arrays).items()}
    encoder = network(dtype, positions="learned")
    inner = fused(
        {name: v for name, v in state.items() if name.startswith(("blocks.", "norm.", "patch_embed."))}
    )
    encoder.load_state_dict({**inner, "positions.table": state["pos_embed"][0]})
    (tokens,) = encoder([request(arrays["videos"].to(dtype), arrays["mask"])])
    assert relative_error(tokens.patch[0], in_order(arrays)) <= bound
    table = state["decoder_pos_embed"]
    decoder = PatchDecoder(12, 8, 1, 2, GRID, 48, class_token=False, positions=table[0], mlp_ratio=2).to(
        dtype
    )
    names = {
        "decoder_embed.": "embed.",
        "decoder_blocks.": "blocks.",
        "decoder_norm.": "norm.",
        "decoder_pred.": "head.",
    }
    theirs = {
        ours + name.removeprefix(old): v
        for old, ours in names.items()
        for name, v in state.items()
        if name.startswith(old)
    }
    decoder.load_state_dict({**fused(theirs), "mask_token": state["mask_token"]})
    decoder.positions = table
    assert relative_error(decoder(tokens)[0], arrays["pred"]) <= bound


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_tables_of_places_and_moments_are_those_of_mae_st(golden, dtype, bound):
    """facebookresearch/mae_st@c5dec1bc0106:models_mae.py with `sep_pos_embed` and `cls_embed`."""
    arrays = golden("mae_st_forward_sep_cls")
    state = {name: value.to(dtype) for name, value in state_of(arrays).items()}
    encoder = network(dtype, positions="separable", class_token=True)
    inner = fused(
        {name: v for name, v in state.items() if name.startswith(("blocks.", "norm.", "patch_embed."))}
    )
    tables = {
        "positions.spatial": state["pos_embed_spatial"][0],
        "positions.temporal": state["pos_embed_temporal"][0],
        "cls_token": state["cls_token"] + state["pos_embed_class"],
    }
    encoder.load_state_dict({**inner, **tables})
    (tokens,) = encoder([request(arrays["videos"].to(dtype), arrays["mask"])])
    assert relative_error(tokens.patch[0], in_order(arrays)) <= bound


def in_order(arrays):
    """`latent`, whose tokens stand by their noise, by place."""
    kept = arrays["noise"].argsort(1)[:, : arrays["latent"].shape[1]]
    return arrays["latent"].gather(1, kept.argsort(1)[..., None].expand_as(arrays["latent"]))
