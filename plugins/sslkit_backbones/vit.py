"""timm's vision transformers behind the Backbone interface."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, final

import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from timm.models import load_checkpoint
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sslkit.core.backbone import Backbone, Exported
from sslkit.core.env import Grid, View
from sslkit.core.passes import Encode, Request, Tokens
from sslkit.errors import CheckpointError, SpecError
from sslkit.functional.patches import conv_patches
from sslkit.nn.init import xavier
from sslkit.nn.positions import sincos_positions
from sslkit_backbones.attention import class_attention
from sslkit_backbones.layers import vit_layer
from sslkit_backbones.plugin import ViT


@final
class VisionTransformerBackbone(Backbone):
    """Encodes requests of any size and mask; those of equal token count share one batch."""

    def __init__(self, spec: ViT, view: View) -> None:
        super().__init__()
        self.arguments = _arguments(spec, view)
        self.architecture = spec.name
        self.net = _create(spec, self.arguments)
        self.dim = int(self.net.embed_dim)
        self.depth = len(self.net.blocks)
        self.patch = int(self.net.patch_embed.patch_size[0])
        self.prefix = int(self.net.num_prefix_tokens)
        self.mask_token: nn.Parameter | None = None
        _initialize(self.net, spec)
        if spec.checkpoint is not None:
            _load(self.net, spec)

    def grid(self, size: int) -> Grid:
        """Patches of a `size` x `size` image."""
        return Grid(size // self.patch, size // self.patch, self.patch)

    def serve(self, passes: Sequence[Encode]) -> None:
        """Make a mask token (N(0, 0.02), as BEiT) only where a pass puts it in."""
        if any(p.mode == "token" and p.mask is not None for p in passes):
            self.mask_token = nn.Parameter(torch.randn(1, 1, self.dim) * 0.02)

    def layer_of(self, name: str) -> int:
        """MAE's layer numbers."""
        return vit_layer(name, self.depth)

    def export(self) -> Exported:
        """The timm network and its weights, without the mask token."""
        return Exported(self.architecture, self.arguments, self.net.state_dict())

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        """One answer for each request, in order."""
        embedded = [self._embed(request) for request in requests]
        answers: dict[int, Tokens] = {}
        for length in dict.fromkeys(x.shape[1] for x in embedded):
            members = [i for i, x in enumerate(embedded) if x.shape[1] == length]
            wanted = {self._block(layer) for i in members for layer in requests[i].layers}
            # the attention of the last block needs its input, the output of the one before
            wanted |= {self.depth - 2 for i in members if requests[i].attention}
            last, layers = self._blocks(torch.cat([embedded[i] for i in members]), wanted)
            sizes = [len(embedded[i]) for i in members]
            for i, (start, end) in zip(members, pairwise(_offsets(sizes)), strict=True):
                inner = {layer: x[start:end] for layer, x in layers.items()}
                answers[i] = self._answer(requests[i], last[start:end], inner)
                if requests[i].attention:
                    before = inner[self.depth - 2] if self.depth > 1 else embedded[i]
                    answers[i] = answers[i]._replace(attention=self._attention(requests[i], before))
        return [answers[i] for i in range(len(requests))]

    def _embed(self, request: Request) -> Tensor:
        """Tokens with positions, `[V * B, prefix + N or K, D]`; hidden patches are never embedded in `drop` mode."""
        images, net = request.image.flatten(0, 1), self.net
        positions = self._positions(images.shape[-2] // self.patch, images.shape[-1] // self.patch)
        patches = conv_patches(images, self.patch)
        own = positions[:, -patches.shape[1] :]
        mask = request.mask
        if mask is not None and request.mode == "drop":
            keep = mask.keep.flatten(0, 1)[..., None]
            patches = patches.gather(1, keep.expand(-1, -1, patches.shape[-1]))
            own = own.expand(len(images), -1, -1).gather(1, keep.expand(-1, -1, self.dim))
        kernel = net.patch_embed.proj
        x = net.patch_embed.norm(F.linear(patches, kernel.weight.flatten(1), kernel.bias))
        if mask is not None and request.mode == "token":
            assert self.mask_token is not None, "`serve` was told of every pass"
            x = torch.where(mask.hidden.flatten(0, 1)[..., None], self.mask_token.to(x.dtype), x)
        front = self._prefix_tokens(positions, patches_only=net.no_embed_class)
        joined = torch.cat([front.to(x.dtype).expand(len(x), -1, -1), x + own], dim=1)
        out: Tensor = net.norm_pre(net.pos_drop(joined))
        return out

    def _positions(self, rows: int, cols: int) -> Tensor:
        """Position embeddings for a grid, interpolated as timm does (bicubic, antialiased)."""
        net = self.net
        table: Tensor = resample_abs_pos_embed(
            net.pos_embed,
            new_size=[rows, cols],
            old_size=list(net.patch_embed.grid_size),
            num_prefix_tokens=0 if net.no_embed_class else self.prefix,
        )
        return table

    def _prefix_tokens(self, positions: Tensor, patches_only: bool) -> Tensor:
        """Class and register tokens, with positions where the network gives them some: `[1, prefix, D]`."""
        tokens = [t for t in (self.net.cls_token, self.net.reg_token) if t is not None]
        if not tokens:
            return positions[:, :0]
        front = torch.cat(tokens, dim=1)
        return front if patches_only else front + positions[:, : self.prefix]

    def _blocks(self, x: Tensor, wanted: set[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """The normed last output, and the raw outputs of the wanted blocks."""
        layers: dict[int, Tensor] = {}
        for i, block in enumerate(self.net.blocks):
            x = block(x)
            if i in wanted:
                layers[i] = x
        return self.net.norm(x), layers

    def _block(self, layer: int) -> int:
        if not -self.depth <= layer < self.depth:
            raise SpecError(f"layer {layer} does not exist: {self.architecture} has {self.depth} blocks")
        return layer % self.depth

    def _answer(self, request: Request, last: Tensor, inner: dict[int, Tensor]) -> Tokens:
        views = request.image.shape[:2]
        cls, patch = self._split(last)
        layers = tuple(
            torch.cat([c[:, None], p], dim=1).unflatten(0, views)
            for c, p in (self._split(inner[self._block(layer)]) for layer in request.layers)
        )
        return Tokens(request.image, cls.unflatten(0, views), patch.unflatten(0, views), request.mask, layers)

    def _attention(self, request: Request, before: Tensor) -> Tensor:
        """`[V, B, heads, N]`, from the input of the last block."""
        if request.mask is not None:
            raise SpecError(
                "backbone: attention is told of passes without a mask only; ask for one beside it"
            )
        weights = class_attention(
            self.net.blocks[-1], before, self.prefix, class_token=self.net.cls_token is not None
        )
        return weights.unflatten(0, request.image.shape[:2])

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class token (or the mean of the patches) and patch tokens; registers are left out."""
        patch = x[:, self.prefix :]
        return (x[:, 0] if self.net.cls_token is not None else patch.mean(1)), patch


def _offsets(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:i]) for i in range(len(sizes) + 1)]


def _arguments(spec: ViT, view: View) -> dict[str, Any]:
    """What `timm.create_model` needs to make the network again, in values that JSON can hold."""
    given = {"patch_size": spec.patch, "embed_dim": spec.width, "depth": spec.depth, "num_heads": spec.heads}
    fixed = {"img_size": view.size, "in_chans": view.channels, "num_classes": 0, "global_pool": ""}
    return {**fixed, **{name: value for name, value in given.items() if value is not None}}


def _create(spec: ViT, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
    """The timm network; anything that timm refuses becomes a SpecError."""
    if not timm.is_model(spec.name):
        close = difflib.get_close_matches(spec.name, timm.list_models("*vit*"), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise SpecError(f"backbone.name: timm {timm.__version__} has no model {spec.name!r}.{hint}")
    try:
        net = timm.create_model(spec.name, **arguments, drop_path_rate=spec.drop_path)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        raise SpecError(f"backbone: timm cannot build {spec.name!r} with {arguments}: {error}") from None
    if not isinstance(net, VisionTransformer) or not isinstance(net.patch_embed.proj, nn.Conv2d):
        raise SpecError(
            f"backbone.name: {spec.name!r} is a {type(net).__name__}, not a plain vision transformer"
        )
    if net.pos_embed is None:
        raise SpecError(
            f"backbone.name: {spec.name!r} has no position embeddings, which this backbone relies on"
        )
    return net


def _initialize(net: Any, spec: ViT) -> None:  # noqa: ANN401
    """MAE's initialization and fixed positions (`models_mae.py:68-93`), as far as the spec asks for them."""
    if spec.positions == "sincos":
        rows, cols = net.patch_embed.grid_size
        table = sincos_positions(int(net.embed_dim), rows, cols)
        extra = net.pos_embed.shape[1] - len(table)
        table = torch.cat([table.new_zeros(extra, table.shape[1]), table])
        net.pos_embed = nn.Parameter(table.to(net.pos_embed.dtype)[None], requires_grad=False)
    if spec.init == "mae":
        xavier(net)
        nn.init.xavier_uniform_(net.patch_embed.proj.weight.data.flatten(1))
        for token in (net.cls_token, net.reg_token):
            if token is not None:
                nn.init.normal_(token, std=0.02)


def _load(net: nn.Module, spec: ViT) -> None:
    """Load `spec.checkpoint`; timm resamples positions and patch kernels of other sizes."""
    try:
        load_checkpoint(net, str(spec.checkpoint), strict=True, weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()
        detail = "\n  ".join(line.strip() for line in reason[:4])
        raise CheckpointError(
            f"backbone.checkpoint: {spec.checkpoint} does not fit {spec.name!r}:\n  {detail}\n"
            "Give weights of the same architecture, patch, width and depth."
        ) from None
