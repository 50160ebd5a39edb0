"""Networks of the video goldens: names of the references -> ours."""

from __future__ import annotations

import torch

from sslkit.core.masker import mask_of
from sslkit.core.passes import Request
from sslkit.plugin import View
from sslkit_video.specs.networks import VideoViT

SHAPE = {"tubelet": 2, "patch": 4, "width": 12, "depth": 2, "heads": 2, "mlp_ratio": 2}
VIEW = View((4, 8, 8), 1, 3, (0.0,) * 3, (1.0,) * 3, type="clip", stream="video", axes=3)


def state_of(arrays):
    return {key[3:]: value for key, value in arrays.items() if key.startswith("sd.")}


def fused(state):
    """One qkv: VideoMAE has no bias of keys, which a softmax does not see; MAE-ST has three layers."""
    out = {}
    for name, value in state.items():
        if name.endswith("attn.q_bias"):
            biases = [value, torch.zeros_like(value), state[name.replace("q_bias", "v_bias")]]
            out[name.replace("q_bias", "qkv.bias")] = torch.cat(biases)
        elif ".attn.q." in name:
            parts = [state[name.replace(".q.", f".{part}.")] for part in "qkv"]
            out[name.replace(".q.", ".qkv.")] = torch.cat(parts)
        elif not any(name.endswith(end) for end in ("v_bias",)) and not any(
            part in name for part in (".attn.k.", ".attn.v.")
        ):
            out[name] = value
    return out


def below(state, prefix):
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def network(dtype, **fields):
    torch.manual_seed(0)
    return VideoViT(**SHAPE, **fields).build(VIEW).to(dtype)


def request(clips, hidden):
    """A pass that leaves out `hidden` `[B, N]`."""
    mask = mask_of(hidden.bool()[None], int((hidden == 0).sum(-1)[0]), int(hidden.sum(-1)[0]))
    return Request(clips[None], mask, "drop", ())
