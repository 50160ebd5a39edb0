"""Purity checks of a forward: it writes no state and draws no random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.core.masker import mask_of
from sslkit.core.passes import Mask, Tokens
from sslkit.functional.submodules import submodules
from sslkit.testing.kit_report import require

T = TypeVar("T")


def called_purely(module: nn.Module, call: Callable[[], T], what: str) -> T:
    """The result of `call`, a method of `module` that messages name `what`.

    Raises:
        PluginError: it wrote to a tensor of the module, or moved torch's generator.
    """
    before = {name: value.clone() for name, value in _tensors(module)}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with undropped(module):
        result = call()
    written = [
        name for name, value in _tensors(module) if name not in before or not _same(value, before[name])
    ]
    require(
        not written,
        f"{what} writes to {', '.join(written[:3])}; read there and write in `commit`, which sees the rows of all "
        "ranks and micro-batches",
    )
    require(
        torch.equal(torch.get_rng_state(), state),
        f"{what} draws from torch's generator, whose numbers depend on ranks and micro-batches; leave randomness to "
        "maskers and augmentations, which have a `Draw`",
    )
    return result


@contextmanager
def undropped(module: nn.Module) -> Iterator[None]:
    """Without dropout and stochastic depth, which are random by torch's generator on purpose."""
    parts = [part for part in module.modules() if part.training and not _has_state(part)]
    for part in parts:
        part.training = False
    try:
        yield
    finally:
        for part in parts:
            part.training = True


def part_of(tokens: Tokens, part: slice) -> Tokens:
    """The answer for some of the images."""
    mask = tokens.mask
    return Tokens(
        tokens.image[:, part],
        tokens.cls[:, part],
        tokens.patch[:, part],
        None if mask is None else part_of_mask(mask, part),
        tuple(layer[:, part] for layer in tokens.layers),
        None if tokens.attention is None else tokens.attention[:, part],
    )


def part_of_mask(mask: Mask, part: slice) -> Mask:
    """The mask of some of the images."""
    images = mask.hidden.shape[0] * mask.hidden.shape[1]
    return mask_of(mask.hidden[:, part], mask.keep.shape[-1] or None, len(mask.flat) // images)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and plain attributes; statistics of batch norms aside, which torch's forward writes."""
    norms = set(submodules(module, _BatchNorm))
    for prefix, part in module.named_modules():
        if part not in norms:
            plain = {name: value for name, value in vars(part).items() if isinstance(value, Tensor)}
            for name, value in {**part._parameters, **part._buffers, **plain}.items():
                if value is not None:
                    yield f"{prefix}.{name}".lstrip("."), value


def _has_state(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first.nan_to_num(), second.nan_to_num())
