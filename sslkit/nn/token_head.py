"""Linear prediction head on patch tokens."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from sslkit.core.passes import Mask, Tokens


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

    def forward(self, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """Predictions of all patches, `[V, B, N, dim_out]`, from tokens encoded in `token` mode.

        With `mask`, of its hidden patches only, `[L, dim_out]`: the last layer is then spared the others.
        """
        out: Tensor = self.linear(tokens.patch if mask is None else mask.pick(tokens.patch))
        return out
