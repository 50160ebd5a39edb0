"""Writes `tests/goldens/public_layouts.npz` with transformers: names, shapes and answers of tiny networks.

`python -m tests.plugins.backbones.transformers_goldens`. Weights are drawn by `drawn`, here and in the tests, so that
the file stays small.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parents[2] / "goldens" / "public_layouts.npz"
SIZE, PATCH, WIDTH, DEPTH, HEADS = 16, 4, 48, 2, 4


def drawn(names, shapes):
    """Weights that all matter; scales are about 1."""
    generator = np.random.RandomState(0)  # whose stream never changes
    values = {}
    for name, shape in zip(names, shapes, strict=True):
        value = 0.2 * generator.standard_normal(tuple(shape))
        values[name] = torch.from_numpy(value + (len(shape) == 1 and name.endswith("weight"))).float()
    return values


def images():
    """`[2, 3, 16, 16]`."""
    return torch.from_numpy(np.random.RandomState(1).standard_normal((2, 3, SIZE, SIZE))).float()


def _networks():
    import transformers as hf

    common = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "image_size": SIZE, "patch_size": PATCH}
    common |= {"num_attention_heads": HEADS, "layer_norm_eps": 1e-6}
    plain = {**common, "intermediate_size": 4 * WIDTH}
    twelve = {**plain, "num_attention_heads": 12}
    tight = {**plain, "layer_norm_eps": 1e-5}
    yield "vit", hf.ViTModel(hf.ViTConfig(**plain))
    yield "vit12", hf.ViTModel(hf.ViTConfig(**twelve))
    yield "dinov2", hf.Dinov2Model(hf.Dinov2Config(**common, mlp_ratio=4))
    yield "dinov2_swiglu", hf.Dinov2Model(hf.Dinov2Config(**common, mlp_ratio=4, use_swiglu_ffn=True))
    registers = hf.Dinov2WithRegistersConfig(**common, mlp_ratio=4, num_register_tokens=4)
    yield "dinov2_registers", hf.Dinov2WithRegistersModel(registers)
    yield "dinov3", hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**tight, num_register_tokens=4))
    without = {"query_bias": False, "key_bias": False, "value_bias": False}
    yield "dinov3_unbiased", hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**tight, num_register_tokens=4, **without))
    gated = hf.DINOv3ViTConfig(
        **{**tight, "intermediate_size": 192, "hidden_act": "silu"}, num_register_tokens=4, use_gated_mlp=True
    )
    yield "dinov3_gated", hf.DINOv3ViTModel(gated)
    yield "clip", hf.CLIPVisionModel(hf.CLIPVisionConfig(**tight))
    yield "siglip", hf.SiglipVisionModel(hf.SiglipVisionConfig(**plain))


def _arrays(model):
    """What `save_pretrained` writes, and the tokens of drawn weights after the last norm."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        state = load_file(f"{folder}/model.safetensors")
        config = json.loads((Path(folder) / "config.json").read_text())
        names = sorted(state)
        shapes = [list(state[name].shape) for name in names]
        from safetensors.torch import save_file

        save_file(drawn(names, shapes), f"{folder}/model.safetensors", {"format": "pt"})
        model = type(model).from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        output = model(images())
        hidden = output.last_hidden_state
        if "CLIP" in type(model).__name__:
            hidden = model.post_layernorm(hidden)
    arrays = {"names": np.array(names), "shapes": np.array(json.dumps(shapes)), "hidden": hidden.numpy()}
    if "Siglip" in type(model).__name__:
        arrays["pooled"] = output.pooler_output.numpy()
    kept = ("model_type", "num_attention_heads", "hidden_act")
    return {**arrays, "config": np.array(json.dumps({key: config[key] for key in kept}))}


def main():
    """Write the file."""
    arrays = {f"{name}/{k}": v for name, model in _networks() for k, v in _arrays(model).items()}
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    main()
