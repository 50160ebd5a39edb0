"""A module that Python hands over as a backbone: copied, and told of by its layers and weights."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable
from types import CodeType

import torch
from torch import nn

from sslkit.interfaces import Backbone
from sslkit.nn.wrapped_network import Forward, Layout, Wrapped
from sslkit.plugin import BatchNormMode, SpecError, View, reason_of
from sslkit_backbones.norm_layers import convert_or_refuse

WHOLE = "whole images"
"""What modules read; a `Backbone` reads masks too."""


def described(network: object) -> dict[str, str | int]:
    """What a file tells of a network: its type, how many parameters, and a digest of its layers, not of its weights.

    Raises:
        SpecError: it is no module.
    """
    if not isinstance(network, nn.Module):
        raise SpecError(f"a {type(network).__name__} is no torch.nn.Module; give an instance of one")
    layers = re.sub(r"0x[0-9a-f]+", "", repr(network))
    shapes = [(name, tuple(value.shape), str(value.dtype)) for name, value in network.state_dict().items()]
    return {
        "python": type(network).__name__,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "reads": "images and masks" if isinstance(network, Backbone) else WHOLE,
        "digest": hashlib.sha256(repr((layers, shapes)).encode()).hexdigest()[:32],
    }


def function_described(function: object) -> dict[str, str | int]:
    """What a file tells of a function: its name, and a digest of its code.

    Raises:
        SpecError: it cannot be called.
    """
    if not callable(function):
        raise SpecError(f"a {type(function).__name__} cannot be called; write `lambda net, images: ...`")
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    text = repr(_code(code)) if code is not None else type(function).__qualname__
    name = getattr(function, "__name__", type(function).__name__)
    return {"python": name, "digest": hashlib.sha256(text.encode()).hexdigest()[:32]}


def weights_digest(network: nn.Module) -> str:
    """Of all parameters and buffers."""
    whole = hashlib.sha256()
    for name, value in network.state_dict().items():
        flat = value.detach().cpu().contiguous().reshape(-1)
        whole.update(name.encode() + (flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""))
    return whole.hexdigest()[:32]


def built(
    network: nn.Module,
    view: View,
    layout: Layout,
    forward: Callable[..., object] | None,
    *,
    batch_norm: BatchNormMode,
    splits: int,
    weights: str | None,
) -> Backbone:
    """A copy of `network` as a backbone; one that is a `Backbone` is copied as it is.

    Raises:
        SpecError: it changed since `weights` was noted, cannot be copied, or gives no features.
    """
    name = type(network).__name__
    if weights is not None and weights_digest(network) != weights:
        raise SpecError(
            f"backbone.network: the weights of {name} have changed since the run was described; make `Run(...)` anew"
        )
    try:
        net = copy.deepcopy(network).cpu()
    except Exception as error:
        raise SpecError(f"backbone.network: a {name} cannot be copied: {reason_of(error)}") from error
    if isinstance(net, Backbone):
        return net
    convert_or_refuse(net, name, batch_norm, splits)
    read: Forward | None = forward  # type: ignore[assignment]  # what it gives is looked at
    try:
        return Wrapped(net, view, read, layout)
    except SpecError as error:
        raise SpecError(f"backbone.network: {error}") from None


def _code(code: CodeType) -> tuple[object, ...]:
    """What a function does, wherever it is written."""
    inner = [_code(part) if isinstance(part, CodeType) else repr(part) for part in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, inner
