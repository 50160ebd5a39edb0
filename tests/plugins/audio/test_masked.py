"""AudioMAE's network, loss and masks against arrays of the reference; runs."""

from __future__ import annotations

import json

import pytest
import torch
from timm.layers.mlp import Mlp

from sslkit import Run
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import Scene, mask_of
from sslkit.core.passes import Request
from sslkit.errors import SpecError
from sslkit.functional.patches import patchify
from sslkit.nn.mae_decoder import PatchDecoder
from sslkit.plugin import Grid, View
from sslkit.runtime import seeds
from sslkit_audio.specs.masked import AudioMAE, TimeFrequencyMasker
from sslkit_audio.specs.networks import SpectrogramNetwork
from tests.near import relative_error

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
VIEW = View((24, 16), 1, 1, (0.0,), (1.0,), type="spectrogram", stream="audio", axes=1)
GRID = Grid(6, 4, 4)
VIT = {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 4, "width": 12, "depth": 1, "heads": 2}
DECODER = ("decoder_embed", "decoder_blocks", "decoder_norm", "decoder_pred")
OURS = ("embed", "blocks", "norm", "head")


def reference(arrays, dtype):
    """Encoder and decoder with the weights of the reference and its transposed tables of positions."""
    state = {key[3:]: value.to(dtype) for key, value in arrays.items() if key.startswith("sd.")}
    torch.manual_seed(0)
    encoder = SpectrogramNetwork(network=VIT).build(VIEW)
    encoder.net.blocks[0].mlp = Mlp(12, 24)
    ours = {k: v for k, v in state.items() if "decoder" not in k and k != "mask_token"}
    encoder.to(dtype).net.load_state_dict(ours)
    decoder = PatchDecoder(12, 8, 1, 2, GRID, 16, mlp_ratio=2).to(dtype)
    names = dict(zip(DECODER, OURS, strict=True))
    inner = {
        ".".join([names[k.split(".")[0]], *k.split(".")[1:]]): v
        for k, v in state.items()
        if k.split(".")[0] in names
    }
    decoder.load_state_dict({**inner, "mask_token": state["mask_token"]})
    decoder.positions = state["decoder_pos_embed"]
    return encoder, decoder


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_the_network_is_that_of_audiomae(golden, dtype, bound):
    """facebookresearch/AudioMAE@bd60e2965128:models_mae.py MaskedAutoencoderViT (decoder_mode 0)."""
    arrays = golden("audiomae_forward_tiny")
    encoder, decoder = reference(arrays, dtype)
    hidden = arrays["mask"].bool()
    mask = mask_of(hidden[None], 4, 20)
    spec = arrays["spec"].to(dtype)
    (tokens,) = encoder([Request(spec[None], mask, "drop", ())])
    predictions = decoder(tokens)[0]
    assert relative_error(predictions, arrays["pred"]) <= bound
    goal = patchify(spec[None], 4)[0]
    assert relative_error(goal, arrays["patches"]) <= bound
    for name, wanted in (
        ("raw", goal),
        ("norm", (goal - goal.mean(-1, keepdim=True)) / (goal.var(-1, keepdim=True) + 1e-6).sqrt()),
    ):
        loss = (predictions - wanted).square().mean(-1)[hidden].mean()
        assert relative_error(loss, arrays[f"loss_{name}"]) <= bound


def test_positions_here_are_of_the_tokens_own_place(golden):
    """The reference fills its table for 4 x 6 patches, while tokens run 6 x 4."""
    arrays = golden("audiomae_forward_tiny")
    assert arrays["patch_hw"].tolist() == [4, 6]
    torch.manual_seed(0)
    ours = SpectrogramNetwork(network=VIT).build(VIEW).net.pos_embed[0, 1:].reshape(6, 4, 12)
    theirs = arrays["pos_embed"][0, 1:].reshape(4, 6, 12).to(ours.dtype)
    assert relative_error(ours[:4, :4], theirs[:4, :4]) <= 1e-5
    assert not torch.equal(ours.reshape(24, 12), theirs.reshape(24, 12))


@pytest.mark.parametrize("row", range(5))
def test_counts_of_masks_are_those_of_audiomae(golden, row):
    """facebookresearch/AudioMAE@bd60e2965128:models_mae.py random_masking_2d."""
    time, frequency, times, bands, kept, share, *_ = golden("audiomae_mask_2d")["rows"][row].tolist()
    spec = TimeFrequencyMasker(time=round(time, 3), frequency=round(frequency, 3))
    assert spec.kept(64, 8) == (times, bands)
    masker = spec.build(env(64, 8), "global")
    hidden = masker.sample(seeds.draw(0, rows=torch.arange(6)), Scene(torch.empty(0)))
    assert masker.visible == kept
    assert hidden.float().mean(-1).tolist() == [pytest.approx(share)] * 6


def env(rows, cols):
    view = View((rows * 4, cols * 4), 1, 1, (0.0,), (1.0,))
    return Env({"global": view}, {"student": NetInfo(12, 1)}, {"global": Grid(rows, cols, 4)})


@pytest.mark.parametrize("name", ["mask_0", "mask_1"])
def test_masks_have_the_form_of_audiomaes(golden, name):
    """Whole rows and columns: a patch is hidden where its time or its frequency is."""
    for hidden in (golden("audiomae_mask_2d")[name].bool(), sampled(0.6, 0.5)):
        grid = hidden.reshape(-1, 64, 8)
        times, bands = grid.all(2), grid.all(1)
        assert torch.equal(grid, times[:, :, None] | bands[:, None, :])
        assert times.any()


def sampled(time, frequency):
    masker = TimeFrequencyMasker(time=time, frequency=frequency).build(env(64, 8), "global")
    return masker.sample(seeds.draw(3, rows=torch.arange(4)), Scene(torch.empty(0)))


def test_time_alone_and_frequency_alone():
    assert sampled(0.5, 0).reshape(4, 64, 8).any(1).all()
    assert (sampled(0, 0.5).reshape(4, 64, 8).all(1).sum(-1) == 4).all()


@pytest.mark.parametrize(
    ("patches", "time", "what"), [(4, 0.9, "nothing stays visible"), (64, 0.0, "nothing is hidden")]
)
def test_masks_that_hide_all_or_nothing_are_refused(patches, time, what):
    spec = TimeFrequencyMasker(time=time, frequency=0)
    with pytest.raises(SpecError, match=what):
        spec.build(env(patches, 4), "global")


def fields(out=None, **changes):
    """A run on a few short sounds."""
    view = {"size": [16, 16], "transform": {"kind": "log_mel"}, "normalize": {"mean": [0.4], "std": [0.2]}}
    vit = {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 8, "width": 16, "depth": 1, "heads": 2}
    return {
        "data": {"kind": "synthetic_sounds", "train": 32, "test": 16, "seconds": 0.2},
        "views": {"global": view},
        "backbone": {"kind": "spectrogram_network", "network": vit},
        "objective": {"kind": "audiomae", "masker": {"ratio": 0.5}, "depth": 1, "width": 16, "heads": 2},
        "batch_size": 16,
        "steps": 3,
        "out": out,
        **changes,
    }


def test_a_run_from_sounds_to_scores(tmp_path):
    view = fields()["views"]["global"] | {"augment": [{"kind": k} for k in ("time_roll", "gain")]}
    Run(
        **fields(tmp_path / "run", views={"global": view}, evaluate=[{"kind": "knn", "baselines": True}])
    ).fit()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["finished"]
    assert {"baseline/raw_pixels/knn/accuracy", "baseline/untrained/knn/accuracy"} <= set(
        summary["baselines"]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"kind": "spectrogram_network"}}, "reads spectrogram; name a network of images"),
        ({"network": {**VIT, "patch": 5}}, "patch 5 does not divide"),
    ],
)
def test_networks_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        Run(**fields(backbone={"kind": "spectrogram_network", **changes}))


def test_rates_agree():
    data = {"kind": "synthetic_sounds", "rate": 22_050}
    with pytest.raises(SpecError, match=r"is 16000, but the sounds have 22050"):
        Run(**fields(data=data))


def test_audiomae_is_mae_with_its_ratio():
    assert AudioMAE().masker.ratio == 0.8
