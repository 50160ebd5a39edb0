"""Attention biases of LeViT-like timm networks, gathered anew at every forward."""

from __future__ import annotations

import types

import torch
from torch import Tensor, nn

from sslkit_backbones.timm_types import TimmModule


def uncache(net: nn.Module) -> None:
    """Let LeViT, EfficientFormer and their like gather their attention biases at every forward.

    In evaluation mode they keep what they gathered until `train()` is called. A moving average never is in training
    mode, so it would go on with its first biases.
    """
    for module in net.modules():
        if hasattr(module, "attention_bias_cache") and hasattr(module, "get_attention_biases"):
            module.get_attention_biases = types.MethodType(_biases, module)  # type: ignore[assignment]


def _biases(module: TimmModule, device: torch.device) -> Tensor:
    """`[heads, N, N]`."""
    biases: Tensor = module.attention_biases[:, module.attention_bias_idxs]
    return biases
