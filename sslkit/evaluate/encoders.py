"""From normalized images to features: the readout of a network, and the pixels themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.passes import Request, Tokens
from sslkit.specs.readout import Readout

Encoder = Callable[[Tensor], Tensor]
"""Normalized images `[B, C, S, S]` -> features `[B, D]`."""


def net_encoder(
    net: Backbone,
    readout: Readout,
    autocast: Callable[[], AbstractContextManager[object]],
    head: nn.Module | None = None,
) -> Encoder:
    """The readout of `net`: the class token or the mean patch token of one block, through `head` if there is one."""
    after = head or nn.Identity()

    def encode(images: Tensor) -> Tensor:
        layers = () if readout.layer == -1 else (readout.layer,)
        with autocast():
            tokens: Tokens = net([Request(images[None], None, "drop", layers)])[0]
            features: Tensor = after(_pooled(tokens, readout))
        return features

    return encode


def patch_encoder(
    net: Backbone, layer: int, autocast: Callable[[], AbstractContextManager[object]]
) -> Encoder:
    """The patch tokens `[B, N, D]` of one block of `net`; -1 is the last, after the final norm."""

    def encode(images: Tensor) -> Tensor:
        with autocast():
            tokens: Tokens = net([Request(images[None], None, "drop", () if layer == -1 else (layer,))])[0]
        return tokens.layers[0][0][:, 1:] if tokens.layers else tokens.patch[0]

    return encode


def _pooled(tokens: Tokens, readout: Readout) -> Tensor:
    """`[B, D]` of tokens whose one layer is the readout's, or that have none."""
    if tokens.layers:
        inner = tokens.layers[0][0]
        return inner[:, 0] if readout.pool == "cls" else inner[:, 1:].mean(1)
    return tokens.cls[0] if readout.pool == "cls" else tokens.patch[0].mean(1)


def pixel_encoder(images: Tensor) -> Tensor:
    """The baseline: the normalized pixels themselves."""
    return images.flatten(1)
