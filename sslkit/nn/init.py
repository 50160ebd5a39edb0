"""Initializations of the reference implementations."""

from __future__ import annotations

from torch import nn


def xavier(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every Linear, ones and zeros for LayerNorm (MAE `models_mae.py:85`).

    A fused qkv counts as one matrix, as in MAE.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
