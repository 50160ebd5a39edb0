"""Construction of timm's networks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal, NamedTuple

import timm
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat, RotaryEmbeddingDinoV3, RotaryEmbeddingMixed
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import nn

from sslkit.plugin import SpecError, View, reason_of
from sslkit_backbones.timm_types import TimmModule, ViTNet

_CLASSES = (VisionTransformer, Beit, VisionTransformerRelPos, Eva)
_ROTARY = (RotaryEmbeddingCat, RotaryEmbeddingMixed, RotaryEmbeddingDinoV3)
_ABSOLUTE = ("sincos", "learned")
_ACTIVATED = ("vision_transformer", "deit")
"""Modules of timm whose networks take an activation by its name."""
_HAVE = {
    "relative": "'beit_base_patch16_224' (SimMIM, BEiT) or 'vit_relpos_base_patch16_cls_224'",
    "rotary": "'eva02_base_patch14_224', 'vit_base_patch16_rope_224' or 'vit_base_patch16_dinov3'",
    "absolute": "'vit_base_patch16_224'",
    "registers": "'vit_base_patch16_224' or 'eva02_base_patch14_224'",
}


class ViTShape(NamedTuple):
    """A vision transformer of timm; None is what the named network has."""

    name: str
    patch: int | None
    width: int | None
    depth: int | None
    heads: int | None
    positions: Literal["sincos", "learned", "relative", "rotary"]
    layer_scale: float | None
    """First value of the learned scale of each branch."""
    registers: int | None
    drop_path: float
    """Stochastic depth at the last block."""
    activation: str | None = None
    """timm's name of what the perceptrons apply."""


def vit_arguments(shape: ViTShape, view: View) -> dict[str, object]:
    """What `timm.create_model` needs to make the network again, in values that JSON can hold."""
    sizes = {
        "patch_size": shape.patch,
        "embed_dim": shape.width,
        "depth": shape.depth,
        "num_heads": shape.heads,
    }
    optional = {**sizes, "init_values": shape.layer_scale, "act_layer": shape.activation}
    arguments = {
        "img_size": view.extent,
        "in_chans": view.channels,
        "num_classes": 0,
        "global_pool": "",
        **{name: value for name, value in optional.items() if value is not None},
    }
    return {**arguments, **_family_arguments(shape)}


def create(name: str, arguments: Mapping[str, object], drop_path: float | None, pattern: str) -> TimmModule:
    """The timm network; anything that timm refuses becomes a SpecError. `pattern` is where names are looked for."""
    try:
        return timm.create_model(name, **arguments, drop_path_rate=drop_path)
    except Exception as error:
        if not timm.is_model(name):
            raise unknown(name, pattern) from None
        raise SpecError(
            f"backbone: timm cannot build {name!r} with {arguments}: {reason_of(error)}"
        ) from None


def unknown(name: str, pattern: str) -> SpecError:
    """The error for a name that timm does not know."""
    close = difflib.get_close_matches(name, timm.list_models(pattern), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return SpecError(f"backbone.name: timm {timm.__version__} has no model {name!r}.{hint}")


def create_vit(shape: ViTShape, arguments: Mapping[str, object]) -> ViTNet:
    """The network of a `vit`, of a class whose parts this package knows."""
    net = create(shape.name, arguments, shape.drop_path, "*vit*")
    if type(net) not in _CLASSES or not isinstance(net.patch_embed.proj, nn.Conv2d):
        raise SpecError(
            f"backbone.name: {shape.name!r} is a {type(net).__name__}, not a plain vision transformer"
        )
    if shape.positions in _ABSOLUTE and net.pos_embed is None:
        raise SpecError(
            f"backbone.name: {shape.name!r} has no position embeddings, which this backbone relies on"
        )
    rope = getattr(net, "rope", None)
    if rope is not None and (not isinstance(rope, _ROTARY) or rope.aug_active):
        raise SpecError(
            f"backbone.name: the rotary positions of {shape.name!r} are of a kind that cannot be gathered for visible "
            f"patches; use {_HAVE['rotary']}"
        )
    return net


def _family_arguments(shape: ViTShape) -> dict[str, object]:
    """Positions and registers, which each of timm's classes calls by other names."""
    if not timm.is_model(shape.name):
        raise unknown(shape.name, "*vit*")
    module = timm.model_entrypoint(shape.name).__module__.rpartition(".")[2]
    if shape.activation is not None and module not in _ACTIVATED:
        raise SpecError(
            f"backbone.activation: {shape.name!r} has one of its own in timm; leave the field out"
        )
    return {"beit": _beit, "vision_transformer_relpos": _relpos, "eva": _eva}.get(module, _plain)(shape)


def _plain(shape: ViTShape) -> dict[str, object]:
    if shape.positions not in _ABSOLUTE:
        raise _lacks(shape, shape.positions)
    return {} if shape.registers is None else {"reg_tokens": shape.registers}


def _beit(shape: ViTShape) -> dict[str, object]:
    if shape.positions == "rotary":
        raise _lacks(shape, "rotary")
    if shape.registers:
        raise _lacks(shape, "registers")
    absolute = shape.positions in _ABSOLUTE
    return {
        "use_abs_pos_emb": absolute,
        "use_rel_pos_bias": False,
        "use_shared_rel_pos_bias": not absolute,
    }


def _relpos(shape: ViTShape) -> dict[str, object]:
    if shape.positions != "relative":
        raise _lacks(shape, "absolute" if shape.positions in _ABSOLUTE else shape.positions)
    if shape.registers:
        raise _lacks(shape, "registers")
    return {"shared_rel_pos": True, "rel_pos_type": "bias"}


def _eva(shape: ViTShape) -> dict[str, object]:
    if shape.positions == "relative":
        raise _lacks(shape, "relative")
    rotary = shape.positions == "rotary"
    registers = {} if shape.registers is None else {"num_reg_tokens": shape.registers}
    absolute = {} if rotary else {"use_abs_pos_emb": True}
    # the last norm stands before pooling, and angles are made for each size of images
    fixed = {"use_fc_norm": False, "dynamic_img_size": True, "use_rot_pos_emb": rotary}
    return {**fixed, **absolute, **registers}


def _lacks(shape: ViTShape, what: str) -> SpecError:
    field = "registers" if what == "registers" else "positions"
    noun = "registers" if what == "registers" else f"{what} positions"
    return SpecError(f"backbone.{field}: {shape.name!r} has no {noun} in timm; use {_HAVE[what]} as `name`")
