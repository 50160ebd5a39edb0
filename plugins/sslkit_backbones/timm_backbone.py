"""Any timm network as a feature extractor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from timm.layers import ClNormMlpClassifierHead, NormMlpClassifierHead
from timm.models.mambaout import MlpHead
from torch import Tensor, nn

from sslkit.interfaces import Exported
from sslkit.nn.wrapped_network import Layout, Wrapped
from sslkit.plugin import BatchNormMode, SpecError, View
from sslkit_backbones.norm_layers import convert_or_refuse, plain_state
from sslkit_backbones.public_weights.weights_loading import load
from sslkit_backbones.timm_networks import create
from sslkit_backbones.timm_types import TimmModule
from sslkit_backbones.uncached import uncache

_PREFIX = ("cls_token", "dist_token", "reg_token")
"""timm's names of the parameters `[1, P, D]` that become tokens before those of the patches."""
_MAY_AVERAGE = (MlpHead, ClNormMlpClassifierHead)
"""Heads with a norm that may pool the mean. A tuple: graphs of torch 2.9 cannot hold `A | B` in an `isinstance`."""


def wrapped(
    name: str,
    arguments: Mapping[str, object],
    view: View,
    *,
    batch_norm: BatchNormMode,
    splits: int,
    checkpoint: Path | None,
    pretrained: bool,
) -> Wrapped:
    """The network with its weights; positions are resampled to the view's size where timm can."""
    every: dict[str, object] = {"in_chans": view.channels, "num_classes": 0, **arguments}
    if pretrained:
        every["pretrained"] = True
    net = create(name, every, None, "*")
    loaded = () if checkpoint is None else tuple(load(net, checkpoint, name).sentences())
    every.pop("pretrained", None)
    convert_or_refuse(net, name, batch_norm, splits)
    uncache(net)
    exported = partial(_exported, name, every)
    pool = _pooled if _has_vector(net) else None
    try:
        return Wrapped(net, view, _features, _layout(net), exported, pool, _advice(net), loaded)
    except SpecError as error:
        raise SpecError(f"backbone.name: {name!r}: {error}") from None


def _exported(name: str, arguments: dict[str, object], net: nn.Module) -> Exported:
    return Exported(name, arguments, plain_state(net))


def _features(net: TimmModule, images: Tensor) -> Tensor:
    """The tokens of the last block or the last feature map; of a network that ends in class tokens only, a vector."""
    features: Tensor = net.forward_features(images)
    if isinstance(features, Tensor) and features.ndim == 3 and features.shape[1] == _prefix(net):
        features = net.forward_head(features, pre_logits=True)
    return features


def _has_vector(net: TimmModule) -> bool:
    """Whether the head keeps the width of features, or has a norm of that width before its MLP."""
    return _norm_before_mlp(net) is not None or int(net.head_hidden_size) == int(net.num_features)


def _norm_before_mlp(net: TimmModule) -> nn.Module | None:
    """The norm of the pooled features in a head that goes on to widen them, in timm's three forms of such heads."""
    head = getattr(net, "head", None)
    pooled = isinstance(head, NormMlpClassifierHead) or (
        isinstance(head, _MAY_AVERAGE) and head.pool_type == "avg"
    )
    if not pooled or int(net.head_hidden_size) == int(net.num_features):
        return None
    norm: nn.Module = net.head.norm
    return norm


def _pooled(net: TimmModule, features: Tensor) -> Tensor | None:
    """The vector that timm's classifier reads, `[B, D]`; None where pooling is off."""
    norm = _norm_before_mlp(net)
    if features.ndim == 2:
        vector = features
    elif norm is None:
        vector = net.forward_head(features, pre_logits=True)
    elif isinstance(net.head, NormMlpClassifierHead):
        vector = net.head.flatten(norm(net.head.global_pool(features)))
    else:
        vector = norm(features.mean((1, 2)))
    return vector if vector.ndim == 2 else None


def _prefix(net: TimmModule) -> int:
    """Tokens before those of the patches: as many as timm counts or, where it counts none, as there are parameters."""
    tokens = [getattr(net, name, None) for name in _PREFIX]
    present = sum(token.shape[1] for token in tokens if isinstance(token, Tensor))
    return int(getattr(net, "num_prefix_tokens", 0)) or present


def _layout(net: TimmModule) -> Layout:
    stages = getattr(net, "feature_info", None)
    stride = stages[-1].get("reduction") if isinstance(stages, list) and stages else None
    return Layout(
        prefix=_prefix(net),
        channels_last=str(getattr(net, "output_fmt", "NCHW")) == "NHWC",
        has_class=isinstance(getattr(net, "cls_token", None), Tensor),
        stride=stride if isinstance(stride, int) else None,
    )


def _advice(net: nn.Module) -> str:
    """What to do where it cannot read images of `SIZE` pixels."""
    taken = inspect.signature(type(net).__init__).parameters
    if "img_size" not in taken:
        return ""
    several = (
        " (or `{dynamic_img_size: true}` for views of several sizes)" if "dynamic_img_size" in taken else ""
    )
    return f"it is made for images of one size: give `arguments: {{img_size: SIZE}}`{several}"
