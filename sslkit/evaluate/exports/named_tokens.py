"""The tokens of a network by name, and the comparison of two networks by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, final

import torch
from torch import Tensor, nn

from sslkit.core.passes import Request, Tokens
from sslkit.errors import CheckpointError
from sslkit.evaluate.exports.opened_model import OpenedModel

TOLERANCE = 1e-5
"""Largest difference of an exported network, relative to the largest absolute value of the output."""
COUNTS = (3, 1)
"""Images in the batches that are compared."""
POOLED = {"cls": "class_token", "mean": "mean_token"}
"""`readout.pool` -> the output that it reads."""
Answers: TypeAlias = Mapping[str, Tensor]


@final
class NamedTokens(nn.Module):
    """Images `[B, C, S, S]` -> `class_token` and `mean_token` `[B, D]` and `patch_tokens` `[B, N, D]` of one block.

    What the readout reads comes first: one of the former two, or `features`, which passed the readout's head.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: OpenedModel, *, normalize: bool = False) -> None:
        """`normalize`: whether images are in [0, 1], and the statistics of the view are applied here."""
        super().__init__()
        self.net, self.head = model.net, model.head
        self.layer, self.first = model.readout.layer, POOLED[model.readout.pool]
        self.normalize = normalize
        for name in ("mean", "std"):
            statistics = torch.tensor(getattr(model.view, name)).reshape(-1, 1, 1)
            self.register_buffer(name, statistics, persistent=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs, in order."""
        pooled = sorted(POOLED.values(), key=lambda name: name != self.first)
        return (*(("features",) if self.head is not None else ()), *pooled, "patch_tokens")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs, in the order of `names`."""
        if self.normalize:
            images = (images - self.mean) / self.std
        layers = () if self.layer == -1 else (self.layer,)
        tokens: Tokens = self.net([Request(images[None], None, "drop", layers)])[0]
        inner = torch.cat([tokens.cls[0][:, None], tokens.patch[0]], 1) if not layers else tokens.layers[0][0]
        cls, patch = inner[:, 0], inner[:, 1:]
        outputs = {"class_token": cls, "mean_token": patch.mean(1), "patch_tokens": patch}
        if self.head is not None:
            outputs["features"] = self.head(outputs[self.first])
        return {name: outputs[name] for name in self.names}


def last_tokens(model: OpenedModel) -> NamedTokens:
    """Those of the last block, without a head: what formats can give that hold the network alone."""
    readout = model.readout.model_copy(update={"layer": -1})
    return NamedTokens(model._replace(readout=readout, head=None))


@torch.no_grad()
def require_equal(
    expected: Callable[[Tensor], Answers], actual: Callable[[Tensor], Answers], model: OpenedModel
) -> float:
    """The largest difference of what `actual` answers, relative to the largest value of the output.

    Raises:
        CheckpointError: it is above `TOLERANCE`, or what is expected is not finite.
    """
    largest = 0.0
    for count in COUNTS:
        images = model.images(count)
        theirs, ours = actual(images), expected(images)
        for name, value in theirs.items():
            largest = max(largest, difference(ours[name], value, f"{model.what}: {name}"))
    if largest > TOLERANCE:
        raise CheckpointError(
            f"{model.what}: what was written answers otherwise than the network, by {largest:.1e} of the largest value "
            f"(allowed: {TOLERANCE:.0e}); nothing is kept of it"
        )
    return largest


def difference(expected: Tensor, actual: Tensor, where: str) -> float:
    """Relative to the largest value of `expected`; infinite where shapes or numbers do not fit.

    Raises:
        CheckpointError: `expected` is not finite.
    """
    if not expected.isfinite().all():
        raise CheckpointError(f"{where} is not finite: the network has diverged")
    if expected.shape != actual.shape or not actual.isfinite().all():
        return float("inf")
    scale = float(expected.abs().max()) or 1.0
    return float((expected - actual).abs().max()) / scale
