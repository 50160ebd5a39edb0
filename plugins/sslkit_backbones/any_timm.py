"""Any timm network, for its last features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sslkit.core.backbone import Exported
from sslkit.core.env import View
from sslkit.nn.wrapped import Layout, Wrapped
from sslkit_backbones.networks import create, load
from sslkit_backbones.norms import plain_state

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
    width = int(net.num_features)
    prefix = int(getattr(net, "num_prefix_tokens", 0))  # timm's convolutional networks have no such attribute
    layout = Layout(prefix, channels_last=str(getattr(net, "output_fmt", "NCHW")) == "NHWC")

    def exported() -> Exported:
        return Exported(spec.name, arguments, plain_state(net))

    made = Wrapped(net, view, net.forward_features, layout, exported)
    assert made.dim in (width, int(net.head_hidden_size)), "features have timm's width"
    return made
