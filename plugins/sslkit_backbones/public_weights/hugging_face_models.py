"""Vision transformers of timm as `ViTModel`, `Dinov2Model` (with registers) and `DINOv3ViTModel` of transformers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import safe_open
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from sslkit.interfaces import HuggingFaceModel
from sslkit.plugin import SpecError
from sslkit_backbones.public_weights.inverted_layout import inverted, places_of
from sslkit_backbones.public_weights.weight_layout import State
from sslkit_backbones.public_weights.weights_loading import ACTIVATIONS
from sslkit_backbones.timm_types import TimmModule

NEEDED = "--to hf: needs transformers, not installed here: pip install 'sslkit[hf]'"
_NAMES = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu"}
"""timm's names of activations -> those of Hugging Face."""


def hugging_face_model(net: TimmModule, size: int, mask_token: Tensor | None) -> HuggingFaceModel:
    """The network in an architecture of transformers.

    Args:
        net: a vision transformer of timm.
        size: side of its images, in pixels.
        mask_token: what stands for hidden patches, where there is one.

    Raises:
        SpecError: transformers is not installed, or has no such architecture; the message says why.
    """
    require_transformers()
    for reason in _reasons(net):
        raise SpecError(f"transformers has no such network: {reason}")
    config = _config(net, size)
    shapes = file_shapes(config)
    state = _with_positions_in_tokens(dict(net.state_dict()), int(net.patch_embed.num_patches))
    return model_of(config, net, state, dict(_defaults(shapes, net, mask_token)), shapes)


def model_of(
    config: Mapping[str, object],
    net: TimmModule,
    state: State,
    defaults: State,
    shapes: Mapping[str, torch.Size],
) -> HuggingFaceModel:
    """The weights `state` of `net` in the architecture of `config`.

    Raises:
        SpecError: it has other parts.
    """
    try:
        return HuggingFaceModel(config, inverted(state, defaults, places_of(shapes, net)))
    except SpecError as error:
        raise SpecError(f"transformers' {config['model_type']!r} {error}") from None


def require_transformers() -> None:
    """Raises SpecError where it is not installed."""
    if find_spec("transformers") is None:
        raise SpecError(NEEDED)


def _reasons(net: TimmModule) -> Iterator[str]:
    """Why transformers has none."""
    if not isinstance(net.norm, torch.nn.LayerNorm):
        yield "it has no layer norm after the last block"
    if type(net) is Eva:
        if type(getattr(net, "rope", None)) is not RotaryEmbeddingDinoV3:
            yield "its rotary positions are not DINOv3's"
        elif net.pos_embed is not None:
            yield "it has learned positions beside rotary ones"
        return
    if type(net) is not VisionTransformer:
        yield f"it is a {type(net).__name__} of timm"
    elif net.cls_token is None:
        yield "it has no class token"
    elif not _is_absent(net.norm_pre):
        yield "it has a norm before the first block, as CLIP"
    elif not _is_absent(net.blocks[0].attn.q_norm):
        yield "it norms queries and keys"


def _is_absent(module: torch.nn.Module) -> bool:
    return type(module) is torch.nn.Identity


def _config(net: TimmModule, size: int) -> dict[str, object]:
    """`config.json` of the architecture that has the parts of `net`."""
    mlp, block = net.blocks[0].mlp, net.blocks[0]
    hidden, registers = int(mlp.fc2.in_features), int(net.num_prefix_tokens) - 1
    activation = _NAMES.get(ACTIVATIONS.get(type(mlp.act).__name__, ""), "silu")
    common = {
        "hidden_size": int(net.embed_dim),
        "num_hidden_layers": len(net.blocks),
        "num_attention_heads": int(block.attn.num_heads),
        "hidden_act": activation,
        "layer_norm_eps": net.norm.eps,
        "image_size": size,
        "patch_size": int(net.patch_embed.patch_size[0]),
        "num_channels": int(net.patch_embed.proj.in_channels),
        "dtype": "float32",
    }
    if type(net) is Eva:
        return common | _dinov3(net, hidden, registers)
    if registers or not _is_absent(block.ls1):
        return common | _dinov2(net, hidden, registers)
    pooler = {"pooler_act": "linear", "pooler_output_size": common["hidden_size"]}
    return {
        "model_type": "vit",
        "architectures": ["ViTModel"],
        **common,
        "intermediate_size": hidden,
        **pooler,
    }


def _dinov2(net: TimmModule, hidden: int, registers: int) -> dict[str, object]:
    """With the sizes of its perceptrons: of a gated one, two thirds of 4 times the width, in steps of 8."""
    gated = int(net.blocks[0].mlp.fc1.out_features) == 2 * hidden
    kind = {"model_type": "dinov2", "architectures": ["Dinov2Model"]}
    if registers:
        kind = {"model_type": "dinov2_with_registers", "architectures": ["Dinov2WithRegistersModel"]}
    ratio = 4 if gated else hidden // int(net.embed_dim)
    return {
        **kind,
        "qkv_bias": True,
        "mlp_ratio": ratio,
        "use_swiglu_ffn": gated,
        **({"num_register_tokens": registers} if registers else {}),
    }


def _dinov3(net: TimmModule, hidden: int, registers: int) -> dict[str, object]:
    biased = net.blocks[0].attn.q_bias is not None
    return {
        "model_type": "dinov3_vit",
        "architectures": ["DINOv3ViTModel"],
        "intermediate_size": hidden,
        "use_gated_mlp": hasattr(net.blocks[0].mlp, "fc1_g"),
        "num_register_tokens": registers,
        "rope_theta": float(net.rope.temperature),
        "query_bias": biased,
        "value_bias": biased,
        "key_bias": False,
        "pos_embed_rescale": None,
    }


def file_shapes(config: Mapping[str, object]) -> dict[str, torch.Size]:
    """Of the arrays in a file that transformers writes of the architecture, by its names there."""
    import transformers

    settings = transformers.AutoConfig.for_model(**config)
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        transformers.AutoModel.from_config(settings).save_pretrained(folder, max_shard_size="1000GB")
        with safe_open(Path(folder) / "model.safetensors", "pt") as file:
            names = sorted(file.keys())
            return {name: torch.Size(file.get_slice(name).get_shape()) for name in names}


def _defaults(
    shapes: Mapping[str, torch.Size], net: TimmModule, mask_token: Tensor | None
) -> Iterator[tuple[str, Tensor]]:
    """What these architectures have and a network of timm may lack, so that they compute the same."""
    for name, shape in shapes.items():
        if name.endswith("lambda1"):
            yield name, torch.ones(shape)
        elif name.endswith("mask_token"):
            yield name, torch.zeros(shape) if mask_token is None else mask_token.detach().float().cpu()
        elif name == "pooler.dense.weight":  # `pooler_output` is the class token
            yield name, torch.eye(int(net.embed_dim))
        elif name == "pooler.dense.bias":
            yield name, torch.zeros(shape)


def _with_positions_in_tokens(state: State, patches: int) -> State:
    """Positions of the tokens in front added to these, so that only those of patches, and a 0, are left.

    The tokens that enter the first block stay as they were.
    """
    table = state.get("pos_embed")
    if table is None:
        return state
    registers = state.get("reg_token", table[:, :0])
    count = table.shape[1] - patches
    front = functional.pad(table[:, :count], (0, 0, 0, 1 + registers.shape[1]))
    positions = torch.cat([torch.zeros_like(table[:, :1]), table[:, count:]], dim=1)
    tokens = {"cls_token": state["cls_token"] + front[:, :1], "pos_embed": positions}
    if registers.shape[1]:
        tokens["reg_token"] = registers + front[:, 1 : 1 + registers.shape[1]]
    return {**state, **tokens}
