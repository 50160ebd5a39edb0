"""Heads: a prediction for every patch from its token."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from sslkit.core.passes import Tokens


@final
class TokenHead(nn.Module):
    """One linear layer on patch tokens, with torch's initialization (SimMIM's is a 1 x 1 convolution)."""

    def __init__(self, width_in: int, dim_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, dim_out)

    def forward(self, tokens: Tokens) -> Tensor:
        """Predictions for all patches, `[V, B, N, dim_out]`, from tokens encoded in `token` mode."""
        out: Tensor = self.linear(tokens.patch)
        return out
