"""timm's Swin transformers behind the Backbone interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple, TypeAlias, final

import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import Tensor, nn

from sslkit.functional.resize import enlarged
from sslkit.interfaces import Backbone, Encode, Exported, Request, Tokens
from sslkit.plugin import Grid, Size, SpecError, View, sides_of
from sslkit_backbones.patch_grid import grid_of_last_stage
from sslkit_backbones.public_weights.weight_sizes import fitting_backbone
from sslkit_backbones.public_weights.weights_loading import load
from sslkit_backbones.timm_networks import create

SwinNet: TypeAlias = SwinTransformer | SwinTransformerV2
_CLASSES = (SwinTransformer, SwinTransformerV2)


class SwinShape(NamedTuple):
    """A Swin transformer of timm; None is what the named network has."""

    name: str
    patch: int
    """Side of a patch before the first stage, in pixels."""
    stride: int
    """Side of a token of the last stage, in pixels."""
    width: int | None
    depths: tuple[int, ...] | None
    heads: tuple[int, ...] | None
    window: int | None
    """Side of the attention windows, in tokens of a stage."""
    drop_path: float
    """Stochastic depth at the last block."""


@final
class SwinBackbone(Backbone):
    """Tokens are those of the last stage. Requests of one image size share a batch."""

    def __init__(self, shape: SwinShape, checkpoint: Path | None, view: View) -> None:
        super().__init__()
        self.patch, self.stride = shape.patch, shape.stride
        self.arguments = _arguments(shape, view)
        self.architecture = shape.name
        self.net: SwinNet = create(shape.name, self.arguments, shape.drop_path, "swin*")
        if type(self.net) not in _CLASSES:
            kind = type(self.net).__name__
            raise SpecError(
                f"backbone.name: {shape.name!r} is a {kind}, not a `swin_...` or `swinv2_...` of timm"
            )
        self.dim = int(self.net.num_features)
        self.depth = len(self.net.layers[-1].blocks)
        self.mask_token: nn.Parameter | None = None
        _check_heads(self.net)
        self.grid(view.extent)
        self.loaded = None if checkpoint is None else load(self.net, checkpoint, shape.name)

    def grid(self, size: Size) -> Grid:
        """Tokens of the last stage. Raises SpecError where the windows do not divide a stage."""
        grid = grid_of_last_stage(size, self.stride)
        for stage, layer in enumerate(self.net.layers):
            windows = [int(window) for window in layer.blocks[0].window_size]
            for window, whole in zip(windows, sides_of(size, 2), strict=True):
                side = whole // self.patch // 2**stage
                if side % window:
                    tokens = f"the {side} x {side} tokens of stage {stage} for images of {whole} pixels"
                    remedy = _remedy(whole, self.patch, len(self.net.layers))
                    raise SpecError(f"backbone.window: windows of {window} do not divide {tokens}; {remedy}")
        return grid

    def serve(self, passes: Sequence[Encode]) -> None:
        """Make a mask token only where a pass puts it in. Raises SpecError for passes in `drop` mode."""
        masked = {p.mode for p in passes if p.mask is not None}
        if "drop" in masked:
            raise _drops()
        if "token" in masked:
            # SimMIM `simmim.py:24,53`: N(0, 0.02), without weight decay, which one-dimensional parameters do not get
            width = self.net.patch_embed.proj.out_channels
            self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))

    def resized(self, state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Sequence[str]]:
        return fitting_backbone(state, self.net)

    def notes(self) -> Sequence[str]:
        return () if self.loaded is None else tuple(self.loaded.sentences())

    def units(self) -> Sequence[nn.Module]:
        """The blocks of all stages."""
        return [block for stage in self.net.layers for block in stage.blocks]

    def export(self) -> Exported:
        return Exported(self.architecture, self.arguments, self.net.state_dict())

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        embedded = [self._embed(request) for request in requests]
        answers: dict[int, Tokens] = {}
        for size in dict.fromkeys(x.shape[1:3] for x in embedded):
            members = [i for i, x in enumerate(embedded) if x.shape[1:3] == size]
            wanted = {self._block(layer) for i in members for layer in requests[i].layers}
            last, layers = self._stages(torch.cat([embedded[i] for i in members]), wanted)
            ends = accumulate((embedded[i].shape[0] for i in members), initial=0)
            for i, (start, end) in zip(members, pairwise(ends), strict=True):
                inner = {layer: x[start:end] for layer, x in layers.items()}
                answers[i] = self._answer(requests[i], last[start:end], inner)
        return [answers[i] for i in range(len(requests))]

    def _embed(self, request: Request) -> Tensor:
        """Patches of the first stage, `[V * B, h, w, width]`, with the mask token where the last stage's are hidden."""
        if request.attention:
            raise SpecError(
                "backbone: 'swin' attends within windows, so no token attends to all; use a 'vit'"
            )
        grid = self.grid(request.image.shape[-1])
        x: Tensor = self.net.patch_embed(request.image.flatten(0, 1))
        if request.mask is None:
            return x
        if request.mode == "drop":
            raise _drops()
        assert self.mask_token is not None, "`serve` got every pass"
        hidden = request.mask.hidden.flatten(0, 1).unflatten(-1, (grid.rows, grid.cols))
        factor = grid.patch // self.patch
        return torch.where(enlarged(hidden, factor)[..., None], self.mask_token.to(x.dtype), x)

    def _stages(self, x: Tensor, wanted: set[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """The normed last output, and the raw outputs of the wanted blocks of the last stage: `[B, N, D]`."""
        layers: dict[int, Tensor] = {}
        for stage in self.net.layers[:-1]:
            x = stage(x)
        x = self.net.layers[-1].downsample(x)
        for i, block in enumerate(self.net.layers[-1].blocks):
            x = block(x)
            if i in wanted:
                layers[i] = x.flatten(1, 2)
        return self.net.norm(x).flatten(1, 2), layers

    def _block(self, layer: int) -> int:
        if not -self.depth <= layer < self.depth:
            raise SpecError(
                f"layer {layer} does not exist: the last stage of {self.architecture} has {self.depth} blocks, and "
                "those of earlier stages have tokens of another size"
            )
        return layer % self.depth

    def _answer(self, request: Request, patch: Tensor, inner: dict[int, Tensor]) -> Tokens:
        views = request.image.shape[:2]
        features = (inner[self._block(layer)] for layer in request.layers)
        layers = tuple(torch.cat([x.mean(1, keepdim=True), x], dim=1).unflatten(0, views) for x in features)
        cls = patch.mean(1).unflatten(0, views)
        return request.answer(cls, patch.unflatten(0, views), layers)


def _check_heads(net: SwinNet) -> None:
    for stage, layer in enumerate(net.layers):
        width, heads = int(layer.blocks[0].dim), int(layer.blocks[0].attn.num_heads)
        if width % heads:
            raise SpecError(f"backbone.heads: {heads} heads do not divide the width {width} of stage {stage}")


def _drops() -> SpecError:
    return SpecError(
        "backbone: 'swin' cannot leave hidden patches out, its windows need them all; use an objective that puts mask "
        "tokens in, such as 'simmim', or a 'vit'"
    )


def _arguments(shape: SwinShape, view: View) -> dict[str, object]:
    """What `timm.create_model` needs to make the network again, in values that JSON can hold."""
    optional = {
        "embed_dim": shape.width,
        "depths": None if shape.depths is None else list(shape.depths),
        "num_heads": None if shape.heads is None else list(shape.heads),
        "window_size": shape.window,
    }
    fixed = {
        "img_size": view.extent,
        "patch_size": shape.patch,
        "in_chans": view.channels,
        "num_classes": 0,
        "global_pool": "",
        "dynamic_img_size": True,
    }
    return {**fixed, **{name: value for name, value in optional.items() if value is not None}}


def _remedy(size: int, patch: int, stages: int) -> str:
    """The windows that divide every stage of images of `size` pixels, or are no smaller than it."""
    sides = [size // patch // 2**stage for stage in range(stages)]
    fit = [w for w in range(2, sides[0] + 1) if all(side <= w or side % w == 0 for side in sides)]
    return f"set `window` to {' or '.join(map(str, fit))}" if fit else "use larger images"
