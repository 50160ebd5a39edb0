"""Linear segmentation heads, one for each learning rate. B images, N patches, D width, C regions, S pixels a side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit_evaluators.concepts.feature_bank import Bank

UNKNOWN = 255
EPS = 1e-5  # torch's batch norm
INITIAL_STD = 0.01  # mmsegmentation's `conv_seg`, which DINOv2's linear head is
AT_ONCE = 1 << 26
"""Logits that are held at a time."""


class Recipe(NamedTuple):
    """How heads are trained; fields of `Dense`."""

    learning_rates: tuple[float, ...]
    weight_decay: float
    steps: int
    batch_size: int


class Head(NamedTuple):
    """A 1 x 1 convolution on standardized tokens."""

    mean: Tensor
    """`[D]`."""
    scale: Tensor
    """`[D]`, what is divided by."""
    weight: Tensor
    """`[D, C]`."""
    bias: Tensor
    """`[C]`."""

    def logits(self, tokens: Tensor, rows: int, size: int) -> Tensor:
        """`[B, C, size, size]` of tokens `[B, N, D]` in `rows` rows, bilinearly enlarged."""
        scores = ((tokens - self.mean) / self.scale) @ self.weight + self.bias
        maps = scores.transpose(1, 2).unflatten(2, (rows, -1))
        return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)


def train_heads(
    bank: Bank, masks: Tensor, indices: Tensor, regions: int, recipe: Recipe, seed: int
) -> list[Head]:
    """One head for each learning rate, all on the same batches of the images `indices` `[n]`.

    The standardization is a batch norm without affine parameters whose statistics are those of all chosen images.

    Args:
        bank: tokens.
        masks: `[n, S, S]` uint8 of all images of the bank.
        indices: the images to learn from.
        regions: C.
        recipe: how.
        seed: of the first weights and the order of images.
    """
    generator = torch.Generator().manual_seed(seed)
    mean, scale = token_statistics(bank, indices)
    start = (torch.randn(len(mean), regions, generator=generator) * INITIAL_STD).to(mean)
    heads = [
        Head(mean, scale, start.clone().requires_grad_(), start.new_zeros(regions).requires_grad_())
        for _ in recipe.learning_rates
    ]
    groups = [
        {"params": [head.weight, head.bias], "lr": rate}
        for head, rate in zip(heads, recipe.learning_rates, strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    for step, rows in enumerate(_batches(indices, recipe, generator)):
        for group, rate in zip(optimizer.param_groups, recipe.learning_rates, strict=True):
            group["lr"] = rate * (1 - step / recipe.steps)
        optimizer.zero_grad()
        _backward(heads, bank, bank(rows), masks[rows])
        optimizer.step()
    return [head._replace(weight=head.weight.detach(), bias=head.bias.detach()) for head in heads]


def token_statistics(bank: Bank, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[D]` of every patch token of the images `indices`, in one pass."""
    total: Tensor | None = None
    square, count = total, 0
    for part in indices.split(64):
        tokens = bank(part).flatten(0, 1).double()
        count += len(tokens)
        total = tokens.sum(0) if total is None else total + tokens.sum(0)
        square = tokens.square().sum(0) if square is None else square + tokens.square().sum(0)
    assert total is not None, "there are images"
    assert square is not None, "there are images"
    mean = total / count
    variance = (square / count - mean.square()).clamp(min=0)
    return mean.float(), (variance + EPS).sqrt().float()


@torch.no_grad()
def predict(head: Head, bank: Bank, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(which images, the region that `head` ranks first at each pixel `[B, S, S]`), a few images at a time."""
    size = bank.subject.view.size
    at_once = max(1, AT_ONCE // (len(head.bias) * size * size))
    for part in rows.split(min(at_once, 64)):
        yield part, head.logits(bank(part), bank.grid.rows, size).argmax(1)


def _batches(indices: Tensor, recipe: Recipe, generator: torch.Generator) -> Iterator[Tensor]:
    """Full batches, reshuffled whenever all images were seen."""
    size, done = min(recipe.batch_size, len(indices)), 0
    while done < recipe.steps:
        order = indices[torch.randperm(len(indices), generator=generator)]
        for rows in order[: len(order) // size * size].view(-1, size)[: recipe.steps - done]:
            done += 1
            yield rows


@torch.enable_grad()
def _backward(heads: list[Head], bank: Bank, tokens: Tensor, masks: Tensor) -> None:
    """The gradients of each head's cross-entropy, a mean over the batch's labeled pixels."""
    truth = masks.to(tokens.device).long()
    count, size = (truth != UNKNOWN).sum().clamp(min=1), masks.shape[-1]
    at_once = max(1, AT_ONCE // (len(heads[0].bias) * size * size))
    for head in heads:
        for part, goal in zip(tokens.split(at_once), truth.split(at_once), strict=True):
            logits = head.logits(part, bank.grid.rows, size)
            loss = F.cross_entropy(logits, goal, ignore_index=UNKNOWN, reduction="sum") / count
            loss.backward()
