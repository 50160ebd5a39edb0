"""From normalized images to features: the readout of a network, and the pixels themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.passes import Request, Tokens
from sslkit.core.view import size_of
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
            extent = net.grid(size_of(tuple(images.shape[2:]))).shape[0] if readout.pyramid else 1
            features: Tensor = after(pooled(*_tokens(tokens), readout, extent))
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


def _tokens(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Class token `[B, D]` and patch tokens `[B, N, D]` of the one layer, or of the last block where there is none."""
    if tokens.layers:
        inner = tokens.layers[0][0]
        return inner[:, 0], inner[:, 1:]
    return tokens.cls[0], tokens.patch[0]


def pooled(cls: Tensor, patch: Tensor, readout: Readout, extent: int) -> Tensor:
    """What `readout` takes of one block.

    Args:
        cls: `[B, D]` class tokens.
        patch: `[B, N, D]` patch tokens.
        readout: says what to take.
        extent: patches along the first axis, where the readout has a pyramid.

    Returns:
        `[B, D]`, or `[B, P * D]` where the parts of a pyramid are P in all.
    """
    if readout.pool == "cls":
        return cls
    return pyramid_means(patch, extent, readout.pyramid) if readout.pyramid else patch.mean(1)


def pyramid_means(patch: Tensor, extent: int, parts: Sequence[int]) -> Tensor:
    """`[B, N, D]` -> `[B, sum(parts) * D]`: for each number of parts, their means along the first axis of patches.

    Parts overlap where their number does not divide `extent`, the patches along that axis.
    """
    along = patch.unflatten(1, (extent, -1)).mean(2).mT  # [B, D, extent]
    return torch.cat([F.adaptive_avg_pool1d(along, count).mT.flatten(1) for count in parts], dim=1)


def pixel_encoder(images: Tensor) -> Tensor:
    """The baseline: the normalized pixels themselves."""
    return images.flatten(1)
