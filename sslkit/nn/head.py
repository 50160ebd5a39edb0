"""Heads: a prediction for every patch from its token."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from sslkit.core.passes import Tokens


@final
class TokenHead(nn.Module):
    """One linear layer on patch tokens.

    It starts as torch's layers do (SimMIM's is a 1 x 1 convolution), or, where `std` is given, with weights from a
    normal distribution of that deviation, cut off at 2, and biases of 0 (MaskFeat: 0.02).
    """

    def __init__(self, width_in: int, dim_out: int, std: float | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, dim_out)
        if std is not None:
            nn.init.trunc_normal_(self.linear.weight, std=std)
            nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Tokens) -> Tensor:
        """Predictions for all patches, `[V, B, N, dim_out]`, from tokens encoded in `token` mode."""
        out: Tensor = self.linear(tokens.patch)
        return out
