"""ResNets of timm as `ResNetModel` of transformers."""

from __future__ import annotations

from collections.abc import Iterator

from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from sslkit.interfaces import HuggingFaceModel
from sslkit.plugin import SpecError
from sslkit_backbones.norm_layers import plain_state
from sslkit_backbones.public_weights.hugging_face_models import file_shapes, model_of, require_transformers
from sslkit_backbones.timm_types import TimmModule


def hugging_face_resnet(net: TimmModule) -> HuggingFaceModel:
    """The network in an architecture of transformers.

    Raises:
        SpecError: transformers is not installed, or has no such architecture; the message says why.
    """
    require_transformers()
    for reason in _reasons(net):
        raise SpecError(f"transformers has no such network: {reason}")
    stages = (net.layer1, net.layer2, net.layer3, net.layer4)
    basic = type(stages[0][0]) is BasicBlock
    config = {
        "model_type": "resnet",
        "architectures": ["ResNetModel"],
        "num_channels": net.conv1.in_channels,
        "embedding_size": net.conv1.out_channels,
        "hidden_sizes": [_width(stage[-1], basic) for stage in stages],
        "depths": [len(stage) for stage in stages],
        "layer_type": "basic" if basic else "bottleneck",
        "hidden_act": "relu",
        "dtype": "float32",
    }
    return model_of(config, net, plain_state(net), {}, file_shapes(config))


def _reasons(net: TimmModule) -> Iterator[str]:
    """Why transformers has none."""
    if type(net) is not ResNet:
        yield f"it is a {type(net).__name__} of timm"
    elif type(net.conv1) is not nn.Conv2d:
        yield "its stem has several convolutions"
    elif type(net.maxpool) is not nn.MaxPool2d or net.conv1.kernel_size != (7, 7):
        yield "its stem is another"


def _width(block: TimmModule, basic: bool) -> int:
    """Channels after a block."""
    return int((block.conv2 if basic else block.conv3).out_channels)
