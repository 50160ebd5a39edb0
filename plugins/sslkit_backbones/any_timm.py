"""Any timm network, for its last features."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sslkit.core.backbone import Exported
from sslkit.core.env import View
from sslkit.nn.wrapped import Layout, Wrapped
from sslkit_backbones.networks import create, load
from sslkit_backbones.norms import convert_or_refuse, plain_state

if TYPE_CHECKING:
    from sslkit_backbones.timm_spec import Timm


def wrapped(spec: Timm, view: View) -> Wrapped:
    """The network with its weights; positions are resampled to the view's size where timm can."""
    arguments: dict[str, Any] = {"in_chans": view.channels, "num_classes": 0, **spec.arguments}
    if spec.pretrained:
        arguments["pretrained"] = True
    net: Any = create(spec.name, arguments, None, "*")
    if spec.checkpoint is not None:
        load(net, spec.checkpoint, spec.name)
    arguments.pop("pretrained", None)
    convert_or_refuse(net, spec.name, spec.batch_norm, spec.splits)
    width = int(net.num_features)
    prefix = int(getattr(net, "num_prefix_tokens", 0))  # timm's convolutional networks have no such attribute
    layout = Layout(prefix, channels_last=str(getattr(net, "output_fmt", "NCHW")) == "NHWC")
    backbone = Wrapped(net, view, _features, layout, partial(_exported, spec.name, arguments))
    assert backbone.dim in (width, int(net.head_hidden_size)), "features have timm's width"
    return backbone


def _features(net: Any, images: Tensor) -> Tensor:  # noqa: ANN401
    """The tokens of the last block, or the last feature map."""
    features: Tensor = net.forward_features(images)
    return features


def _exported(name: str, arguments: dict[str, Any], net: Any) -> Exported:  # noqa: ANN401
    return Exported(name, arguments, plain_state(net))
