"""The `vit` backbone with DINO's weights, against facebookresearch/dino@7c446df5b9f4:vision_transformer.py.

The reference's weights fit timm's names. At the size of the weights all agrees. At other sizes positions are
interpolated by other rules: DINO's scale factor of (side + 0.1) / side, timm's antialiased resize to the side.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import ViT
from sslkit.core.passes import Request
from sslkit.core.view import View
from tests.near import error_of
from tests.plugins.objectives.distillation.parts import PRECISIONS

VIEW = View(32, 1, 3, (0.0,) * 3, (1.0,) * 3)
SPEC = ViT(
    name="vit_tiny_patch16_224", patch=8, width=32, depth=2, heads=4, positions="learned", init="timm"
)  # fmt: skip


@pytest.fixture
def arrays(golden):
    return golden("dino_vit_tiny")


@pytest.fixture
def backbone(arrays):
    """With the weights, and torch's eps in layer norms, which these arrays were made with (timm and DINO: 1e-6)."""
    made = SPEC.build(VIEW).double()
    made.net.load_state_dict({key[3:]: value for key, value in arrays.items() if key.startswith("sd.")})
    for part in made.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = 1e-5
    return made.eval()


def answer(backbone, images):
    (tokens,) = backbone([Request(images[None], None, "drop", (), attention=True)])
    return tokens


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
def test_class_token_positions_and_attention_are_dinos(backbone, arrays, dtype, error):
    backbone.to(dtype)
    tokens = answer(backbone, arrays["x32"].to(dtype))
    assert error_of(tokens.cls[0], arrays["cls32"]) <= error
    assert error_of(backbone._positions(4, 4), arrays["pos32"].reshape(1, 17, 32)) <= error
    assert error_of(tokens.attention[0], arrays["attn32"][:, :, 0, 1:]) <= 1e-5


@pytest.mark.parametrize("size", [16, 48])
def test_other_sizes_differ_by_the_rule_of_interpolation_only(backbone, arrays, size):
    """With the reference's interpolated positions in place, the rest agrees there, too."""
    images, expected = arrays[f"x{size}"], arrays[f"cls{size}"]
    positions = arrays[f"pos{size}"].reshape(1, -1, 32)
    side = size // 8
    difference = (backbone._positions(side, side) - positions).abs().max()
    assert 1e-3 < difference < 1.5
    assert torch.equal(backbone._positions(side, side)[:, 0], positions[:, 0])
    backbone._positions = lambda rows, cols: positions
    assert error_of(answer(backbone, images).cls[0], expected) <= 1e-10
