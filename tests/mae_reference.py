"""The tiny MAE of the goldens, rebuilt from sslkit's parts and loaded with the reference weights."""

from __future__ import annotations

import torch

from sslkit import MAE, NormalizedPixel, Pixel, ViT
from sslkit.core.context import Env, NetInfo
from sslkit.core.passes import Mask, Request
from sslkit.core.view import Grid, View

VIEW = View(32, 1, 3, (0.0,) * 3, (1.0,) * 3)
ENV = Env({"global": VIEW}, {"student": NetInfo(32, 2)}, {"global": Grid(4, 4, 8)})
NAMES = {
    "decoder_embed": "embed",
    "mask_token": "mask_token",
    "decoder_blocks": "blocks",
    "decoder_norm": "norm",
    "decoder_pred": "head",
}
"""First part of a decoder parameter's name in the reference -> ours."""


def weights(arrays, prefix="sd."):
    return {key[len(prefix) :]: value for key, value in arrays.items() if key.startswith(prefix)}


def split(values):
    """Reference names -> (ours of the encoder, ours of the decoder)."""
    decoder = {}
    for key, value in values.items():
        head, *rest = key.split(".")
        if head in NAMES:
            decoder[".".join([NAMES[head], *rest])] = value
    encoder = {k: v for k, v in values.items() if k.split(".")[0] not in NAMES and k != "decoder_pos_embed"}
    return encoder, decoder


def build(arrays, normalized, dtype=torch.float64):
    """Backbone and objective with the reference weights."""
    backbone = ViT(name="vit_tiny_patch16_224", patch=8, width=32, depth=2, heads=4).build(VIEW).to(dtype)
    target = NormalizedPixel() if normalized else Pixel()
    objective = MAE(target=target, decoder={"depth": 1, "width": 16, "heads": 2}).build(ENV).to(dtype)
    encoder, decoder = split({k: v.to(dtype) for k, v in weights(arrays).items()})
    backbone.net.load_state_dict(encoder, strict=True)
    objective.decoder.load_state_dict(decoder, strict=True)
    objective.decoder.positions = weights(arrays)["decoder_pos_embed"].to(dtype)
    return backbone, objective


def mask_of(arrays):
    """The golden mask (1 = removed) in sslkit's form."""
    hidden = arrays["mask"].bool()[None]
    keep = torch.sort(hidden.to(torch.int8), dim=-1, stable=True).indices[..., : int((~hidden[0, 0]).sum())]
    flat = hidden.flatten().nonzero()[:, 0]
    return Mask(hidden, keep, flat, torch.full((len(flat),), int(hidden[0, 0].sum())))


def encode(backbone, arrays, dtype=torch.float64):
    return backbone([Request(arrays["imgs"].to(dtype)[None], mask_of(arrays), "drop", ())])[0]
