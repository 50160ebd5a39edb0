"""Small networks of every class of timm that `vit` builds, and of every way to tell places."""

from __future__ import annotations

import copy
import warnings

import torch

from sslkit import ViT
from sslkit.core.passes import Mask
from sslkit.core.view import View

SMALL = {"patch": 4, "width": 16, "depth": 2, "heads": 2, "init": "timm"}
VARIANTS = {
    "plain with registers": {"name": "vit_tiny_patch16_224", "registers": 3, "layer_scale": 0.5},
    "beit relative": {"name": "beit_base_patch16_224", "positions": "relative"},
    "beit learned": {"name": "beit_base_patch16_224", "positions": "learned", "layer_scale": 0.2},
    "relpos relative": {"name": "vit_relpos_base_patch16_cls_224", "positions": "relative"},
    "relpos without a class": {"name": "vit_srelpos_small_patch16_224", "positions": "relative"},
    "eva rotary": {"name": "eva02_tiny_patch14_224", "positions": "rotary", "registers": 2},
    "eva sincos": {"name": "eva02_tiny_patch14_224", "layer_scale": 0.3},
    "eva split projections": {"name": "eva02_base_patch14_224", "positions": "rotary"},
    "rope only": {"name": "vit_small_patch16_rope_224", "positions": "rotary"},
    "rope of every block": {"name": "vit_small_patch16_rope_mixed_224", "positions": "rotary"},
    "rope beside learned": {"name": "vit_small_patch16_rope_ape_224", "positions": "rotary"},
    "dinov3": {"name": "vit_small_patch16_dinov3", "positions": "rotary"},
}
RELATIVE = [name for name, fields in VARIANTS.items() if fields.get("positions") in ("relative", "rotary")]


def spec(variant, **fields):
    return ViT(**{**SMALL, **VARIANTS[variant], **fields})


def view(size=16, channels=3):
    return View(size, 1, channels, (0.5,) * channels, (0.5,) * channels)


def perturbed(backbone):
    """The same network with other weights, so that biases and scales matter."""
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return backbone.eval()


def build(variant, size=16, **fields):
    return perturbed(spec(variant, **fields).build(view(size)))


def random_mask(views, batch, patches, kept, seed=0):
    """Each image keeps `kept` patches of its own."""
    order = torch.rand(views, batch, patches, generator=torch.Generator().manual_seed(seed)).argsort(-1)
    keep = order[..., :kept].sort(-1).values
    hidden = torch.ones(views, batch, patches, dtype=torch.bool).scatter(-1, keep, False)
    flat = hidden.flatten().nonzero().flatten()
    return Mask(hidden, keep, flat, torch.full_like(flat, patches - kept))


def resized(net, size):
    """timm's own network for other images."""
    if hasattr(net, "rope"):
        return net  # made for images of any size
    other = copy.deepcopy(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of how timm resamples tables
        other.set_input_size(img_size=(size, size))
    return other
