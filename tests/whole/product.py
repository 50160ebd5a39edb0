"""The product's side: a composed system with given weights, batches and masks makes 20 steps in float64."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sslkit.core.passes import Mask
from sslkit.data.loaders import Batch
from sslkit.train.compose import Composed, compose
from tests import tiny
from tests.whole.straight import PER_EPOCH, STEPS

BATCH = 8
BATCH_SIZE = 287  # what the spec says, so that 1,437 digits make an epoch of five steps
ARRAYS = Path(__file__).resolve().parent.parent / "goldens" / "whole_training.npz"
Masks = Callable[[int], Tensor]
"""step -> `[V, B, N]` bool, hidden patches."""


class Trained(NamedTuple):
    """What 20 steps made."""

    losses: list[float]
    weights: dict[str, Tensor]


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Everything that is made inside is in double precision."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def numbers(name: str, *shape: int) -> Tensor:
    """Normal numbers that depend on `name` alone; numpy keeps this generator's stream as it is."""
    state = np.random.RandomState(zlib.crc32(name.encode()))
    return torch.from_numpy(state.standard_normal(shape))


def images_of(step: int, views: Mapping[str, int], size: int = 16) -> dict[str, Tensor]:
    """`[V, B, 1, S, S]` by view; the crops of an image are alike."""
    base = numbers(f"images {step}", 1, BATCH, 1, size, size)
    return {
        name: base + 0.5 * numbers(f"{name} {step}", n, BATCH, 1, size, size) for name, n in views.items()
    }


def composed(**changes: Any) -> Composed:
    """The run of 20 steps in 4 epochs, with weights of 1 / sqrt(inputs) that depend on their names alone."""
    made = compose(tiny.spec(steps=STEPS, batch_size=BATCH_SIZE, **changes), tiny.CPU)
    assert made.length.steps_per_epoch == PER_EPOCH
    weights = dict(made.system.named_parameters())
    with torch.no_grad():
        for name, p in weights.items():
            if p.requires_grad:
                noise = numbers(name, *p.shape)
                centered = (
                    1.0 if name.endswith(("weight_g", "norm.weight", "norm1.weight", "norm2.weight")) else 0.0
                )
                p.copy_(centered + (noise * 0.1 if p.ndim == 1 else noise / p[0].numel() ** 0.5))
        for name, objective in made.system.objectives.items():
            for online, average in objective.twins.items():  # type: ignore[union-attr]
                _copy(weights, f"objectives.{name}.{online}.", f"objectives.{name}.{average}.")  # type: ignore[str-bytes-safe]
        for net in made.system.nets:
            _copy(weights, "nets.student.", f"nets.{net}.")
    return made


def _copy(weights: Mapping[str, Tensor], online: str, average: str) -> None:
    for name, p in weights.items():
        if name.startswith(average):
            p.copy_(weights[online + name.removeprefix(average)])


def weights_of(made: Composed) -> dict[str, Tensor]:
    """Of the whole system, copied."""
    return {name: p.detach().clone() for name, p in made.system.named_parameters()}


def train(
    made: Composed, images: Callable[[int], Mapping[str, Tensor]], masks: Masks | None = None
) -> Trained:
    """Make the 20 steps."""
    losses = []
    for step in range(STEPS):
        if masks is not None:
            plan, mask = made.step.masking.plan, mask_of(masks(step))
            drawn: list[Mask | None] = [None if request.mask is None else mask for request in plan]
            made.step.masking.sample = lambda *_, drawn=drawn: drawn  # type: ignore[method-assign]
        batch = Batch(dict(images(step)), torch.arange(BATCH))
        losses.append(made.step(step, [batch]).total.item())
    return Trained(losses, weights_of(made))


def mask_of(hidden: Tensor) -> Mask:
    """The product's form of `hidden` `[V, B, N]`; the places of visible patches only where each image has as many."""
    counts = hidden.sum(-1)
    visible = hidden.shape[-1] - int(counts.max()) if bool((counts == counts.flatten()[0]).all()) else 0
    keep = hidden.to(torch.int8).argsort(dim=-1, stable=True)[..., :visible]
    flat = hidden.flatten().nonzero()[:, 0]
    per_image = counts.flatten()[flat // hidden.shape[-1]]
    padding = torch.zeros(hidden.numel() - len(flat), dtype=torch.int64)
    return Mask(hidden, keep, torch.cat([flat, padding]), torch.cat([per_image, padding]))


def felt(name: str, value: Tensor) -> Tensor:
    """`value` without biases of keys: no loss depends on them, so that Adam makes steps of rounding errors there."""
    if not name.endswith("attn.qkv.bias"):
        return value
    q, _, v = value.chunk(3)
    return torch.cat([q, v])


def digest(trained: Trained) -> np.ndarray[Any, Any]:
    """The losses, then of every tensor in the order of names its sum, norm and product with fixed numbers."""
    values = [(name, felt(name, p)) for name, p in sorted(trained.weights.items())]
    rows = [
        [p.sum().item(), p.norm().item(), (p * numbers(f"digest {name}", *p.shape)).sum().item()]
        for name, p in values
    ]
    return np.concatenate([np.array(trained.losses), np.array(rows).flatten()])


def require_equal(product: Trained, straight: Trained, name: str) -> None:
    """Both sides agree to 1e-10, and the straight-line code with what it gave when it was written."""
    np.testing.assert_allclose(product.losses, straight.losses, rtol=1e-10)
    assert product.weights.keys() == straight.weights.keys()
    for key, value in straight.weights.items():
        ours, theirs = felt(key, product.weights[key]), felt(key, value)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10, msg=lambda m, k=key: f"{k}: {m}")
    with np.load(ARRAYS) as arrays:
        np.testing.assert_allclose(digest(straight), arrays[name], rtol=1e-10, atol=1e-10)
