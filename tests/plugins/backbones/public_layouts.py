"""Tiny networks of `public_layouts.npz`, and their weights under the names of public files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from sslkit.core.passes import Request
from sslkit.core.view import View
from tests.plugins.backbones.transformers_goldens import (
    DEPTH,
    GOLDEN,
    HEADS,
    PATCH,
    SIZE,
    WIDTH,
    drawn,
    images,
)

FIELDS = {"patch": PATCH, "width": WIDTH, "depth": DEPTH, "heads": HEADS}
_NAMES = (
    (r"^embeddings\.(cls_token|mask_token|register_tokens)$", r"\1"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(?:projection\.)?", "patch_embed.proj."),
    (r"^(?:encoder\.)?layer\.", "blocks."),
    (r"attention\.attention\.([qkv])[a-z]+", r"attn.\1"),
    (r"attention\.output\.dense|attention\.o_proj", "attn.proj"),
    (r"attention\.([qkv])_proj", r"attn.\1"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"intermediate\.dense|mlp\.up_proj", "mlp.fc1"),
    (r"(\d)\.output\.dense|(\d)\.mlp\.down_proj", r"\1\2.mlp.fc2"),
    (r"mlp\.weights_in", "mlp.w12"),
    (r"mlp\.weights_out", "mlp.w3"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)


class Network(NamedTuple):
    """What transformers saves, and answers to `images`."""

    state: dict[str, Tensor]
    config: str
    hidden: Tensor
    pooled: Tensor | None

    def folder(self, path: Path) -> Path:
        """`path` with what `save_pretrained` writes."""
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text(self.config)
        save_file(self.state, path / "model.safetensors")
        return path


def network(name):
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        part = {key.partition("/")[2]: arrays[key] for key in arrays.files if key.startswith(f"{name}/")}
    state = drawn(part["names"].tolist(), json.loads(str(part["shapes"])))
    pooled = torch.from_numpy(part["pooled"]) if "pooled" in part else None
    return Network(state, str(part["config"]), torch.from_numpy(part["hidden"]), pooled)


def authors(state):
    """The names of DINO's, DINOv2's, MAE's and MoCo v3's files: timm's, but for what each of them adds."""
    named = {}
    for name, value in state.items():
        if name.startswith("pooler."):  # of Hugging Face alone
            continue
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        named[name] = value
    for block in sorted({name.split(".attn.q.")[0] for name in named if ".attn.q." in name}):
        for kind in ("weight", "bias"):
            parts = [named.pop(f"{block}.attn.{part}.{kind}", None) for part in "qkv"]
            if any(part is not None for part in parts):
                zero = torch.zeros(WIDTH)
                named[f"{block}.attn.qkv.{kind}"] = torch.cat([zero if p is None else p for p in parts])
    return named


def prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def others(state):
    """Other weights of the same names: of the network that is not to be taken."""
    return {name: torch.full_like(value, 9.0) for name, value in state.items()}


def view(size=SIZE, channels=3):
    return View(size, 1, channels, (0.5,) * channels, (0.5,) * channels)


def loaded(spec, path, size=SIZE, channels=3, **fields):
    """The network of `spec` with the weights at `path`."""
    return spec.model_copy(update={**fields, "checkpoint": path}).build(view(size, channels)).eval()


def answer(net, size=None, mask=None, mode="drop"):
    pixels = images() if size is None else torch.nn.functional.interpolate(images(), size=size)
    with torch.no_grad():
        (tokens,) = net([Request(pixels[None], mask, mode, ())])
    return tokens


def require_equal(net, expected, registers=0):
    """Class and patch tokens of `net` are those of `expected` `[B, 1 + registers + N, D]` to 1e-5."""
    tokens, largest = answer(net), expected.abs().max()
    assert ((tokens.cls[0] - expected[:, 0]) / largest).abs().max() < 1e-5
    assert ((tokens.patch[0] - expected[:, 1 + registers :]) / largest).abs().max() < 1e-5


def notes_of(net):
    return "\n".join(net.notes())
