"""timm's convolutional networks behind the Backbone interface."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, final

import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from sslkit.interfaces import Backbone, Encode, Exported, HuggingFaceModel, Request, Tokens
from sslkit.nn.wrapped_network import channels_last
from sslkit.plugin import BatchNormMode, Grid, Size, SpecError, View, reason_of, sides_of
from sslkit_backbones.norm_layers import convert_or_refuse, plain_state
from sslkit_backbones.public_weights.hugging_face_resnets import hugging_face_resnet
from sslkit_backbones.public_weights.weight_sizes import fitting_backbone
from sslkit_backbones.public_weights.weights_loading import load
from sslkit_backbones.timm_networks import create
from sslkit_backbones.timm_types import TimmModule


class Network(NamedTuple):
    """A convolutional network of timm."""

    name: str
    arguments: Mapping[str, object]
    """Further ones of `timm.create_model`."""
    stem: Literal["named", "cifar"]
    """First layers: those of the name, or a ResNet's for small images."""
    batch_norm: BatchNormMode
    splits: int
    """Groups of `split` and `shuffled` batch norm."""
    zero_init_last: bool | None
    """Whether the last batch norm of every residual branch begins at 0; None is timm's default."""
    drop_path: float
    """Stochastic depth at the last block."""


@final
class CNNBackbone(Backbone):
    """Places of the last feature map are the patch tokens, their mean is the class token.

    Earlier stages have maps of other widths and sizes, so the last map is the only layer.
    """

    depth = 1

    def __init__(self, network: Network, views_apart: bool, checkpoint: Path | None, view: View) -> None:
        """`views_apart`: whether each crop of a view is a batch of its own to batch norm."""
        super().__init__()
        self.views_apart = views_apart
        self.architecture = network.name
        self.arguments: dict[str, object] = {"in_chans": view.channels, "num_classes": 0, **network.arguments}
        self._channels = view.channels
        self.net: TimmModule = _created(network, self.arguments)
        self.changes: tuple[str, ...] = ()
        self.stride = int(self.net.feature_info[-1]["reduction"])
        if network.stem == "cifar":
            self.stride //= _stem_stride(self.net, network.name)
            self.changes = _small_stem(self.net, view.channels)
        self._maps: dict[Size, tuple[int, int, int]] = {}
        self.dim = self._map_of(view.extent)[0]
        self.loaded = None if checkpoint is None else load(self.net, checkpoint, network.name)
        convert_or_refuse(self.net, network.name, network.batch_norm, network.splits)

    def grid(self, size: Size) -> Grid:
        """Places of the last feature map; `patch` is its stride. Found by tracing shapes, without computing."""
        _, rows, cols = self._map_of(size)
        return Grid(rows, cols, self.stride)

    def _map_of(self, size: Size) -> tuple[int, int, int]:
        """Channels, rows and columns of the last feature map."""
        if size not in self._maps:
            self._maps[size] = self._traced(size)
        return self._maps[size]

    def _traced(self, size: Size) -> tuple[int, int, int]:
        try:
            net = copy.deepcopy(self.net).eval().to("meta")
            shape = net(torch.empty(1, self._channels, *sides_of(size, 2), device="meta")).shape
        except (RuntimeError, ValueError, AssertionError) as error:
            raise SpecError(
                f"backbone.name: {self.architecture!r} cannot read images of {size} pixels: {reason_of(error)}"
            ) from None
        if len(shape) != 4 or shape[1] not in (self.net.num_features, self.net.head_hidden_size):
            raise SpecError(
                f"backbone.name: {self.architecture!r} is a {type(self.net).__name__}, which ends in {list(shape)[1:]} "
                f"and not in a feature map; use a convolutional network, or a `vit` or `swin`"
            )
        return int(shape[1]), int(shape[2]), int(shape[3])

    def serve(self, passes: Sequence[Encode]) -> None:
        """Raises SpecError for passes with a mask."""
        if any(p.mask is not None for p in passes):
            raise _masks()

    def resized(self, state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Sequence[str]]:
        return fitting_backbone(state, self.net)

    def notes(self) -> Sequence[str]:
        return () if self.loaded is None else tuple(self.loaded.sentences())

    def units(self) -> Sequence[nn.Module]:
        """The blocks of a ResNet. Of other networks none: what changes a unit's answer in place loses its gradient."""
        if not isinstance(self.net, ResNet):
            return ()
        stages = (self.net.layer1, self.net.layer2, self.net.layer3, self.net.layer4)
        return [block for stage in stages for block in stage]

    def export(self) -> Exported:
        """The timm network and its weights; `changes` hold how its stem differs."""
        return Exported(self.architecture, self.arguments, plain_state(self.net), self.changes)

    def hugging_face(self) -> HuggingFaceModel:
        return hugging_face_resnet(self.net)

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        """Requests never share a batch; see `views_apart`."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Tokens:
        if request.mask is not None:
            raise _masks()
        if request.attention:
            raise SpecError("backbone: 'cnn' has no attention; use a 'vit'")
        if any(layer not in (0, -1) for layer in request.layers):
            raise SpecError(
                f"layer {request.layers[0]} does not exist: of a 'cnn' only the last feature map can be read (0 or "
                "-1), as those of earlier stages have other widths and sizes"
            )
        patch = self._map(request.image).flatten(3).mT
        cls = patch.mean(2)
        whole = (torch.cat([cls[:, :, None], patch], dim=2),) if request.layers else ()
        return request.answer(cls, patch, whole * len(request.layers))

    def _map(self, images: Tensor) -> Tensor:
        """The last feature map, `[V, B, D, h, w]`."""
        if self.views_apart:
            return torch.stack([self.net(channels_last(crop)) for crop in images])
        joined: Tensor = self.net(channels_last(images.flatten(0, 1))).unflatten(0, images.shape[:2])
        return joined


def _created(network: Network, arguments: Mapping[str, object]) -> TimmModule:
    optional = {"global_pool": "", "zero_init_last": network.zero_init_last}
    present = {name: value for name, value in optional.items() if value is not None}
    return create(network.name, {**arguments, **present}, network.drop_path or None, "*net*")


def _stem_stride(net: nn.Module, name: str) -> int:
    """How much the convolution and the pooling of a ResNet's stem shrink images."""
    if not isinstance(net, ResNet):
        raise SpecError(
            f"backbone.stem: {name!r} is a {type(net).__name__}; the `cifar` stem is for ResNets ('resnet18')"
        )
    return 4


def _small_stem(net: ResNet, channels: int) -> tuple[str, ...]:
    """Put the stem in; return the statements that do the same to timm's network."""
    width = int(net.bn1.num_features)
    net.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(
        net.conv1.weight, mode="fan_out", nonlinearity="relu"
    )  # as timm's other convolutions
    net.maxpool = nn.Identity()
    return (
        f"net.conv1 = torch.nn.Conv2d({channels}, {width}, 3, padding=1, bias=False)",
        "net.maxpool = torch.nn.Identity()",
    )


def _masks() -> SpecError:
    return SpecError(
        "backbone: 'cnn' cannot hide patches; for an objective with a masker use a 'vit', or a 'swin' with 'simmim'"
    )
