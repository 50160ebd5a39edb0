"""timm's vision transformers behind the Backbone interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from sslkit.functional.patches import conv_patches
from sslkit.interfaces import Attentions, Backbone, Encode, Exported, HuggingFaceModel, Request, Tokens
from sslkit.plugin import Grid, Problem, Size, SpecError, View, sides_of
from sslkit_backbones.attention_layers import attention_weights, class_attention
from sslkit_backbones.layer_numbers import vit_layer
from sslkit_backbones.position_bias import Geometry, block_arguments, geometry, is_relative, rope_of
from sslkit_backbones.public_weights.hugging_face_models import hugging_face_model
from sslkit_backbones.public_weights.pretrained_weights import load_own
from sslkit_backbones.public_weights.weight_sizes import fitting_backbone
from sslkit_backbones.public_weights.weights_loading import load
from sslkit_backbones.timm_networks import ViTShape, create_vit, vit_arguments
from sslkit_backbones.timm_types import ViTNet
from sslkit_backbones.vit_initialization import Init, initialize, is_sincos, mask_token


@final
class ViTBackbone(Backbone):
    """Encodes requests of any size and mask; those of equal token count and places share one batch."""

    def __init__(
        self, shape: ViTShape, init: Init, checkpoint: Path | None, view: View, pretrained: bool = False
    ) -> None:
        """`pretrained`: begin with the weights that timm has for the name."""
        super().__init__()
        self.arguments = vit_arguments(shape, view)
        self.architecture, self.size = shape.name, view.extent
        self.net: ViTNet = create_vit(shape, self.arguments)
        self.dim = int(self.net.embed_dim)
        self.depth = len(self.net.blocks)
        self.patch = int(self.net.patch_embed.patch_size[0])
        self.prefix = int(self.net.num_prefix_tokens)
        self.mask_token: nn.Parameter | None = None
        self.init: Init = init
        self.relative = is_relative(self.net)
        self.no_embed_class = bool(getattr(self.net, "no_embed_class", False))
        initialize(self.net, shape.positions, init)
        self.positions = shape.positions
        self.loaded = load_own(self.net, shape.name) if pretrained else None
        if checkpoint is not None:
            self.loaded = load(self.net, checkpoint, shape.name)
        table = None if self.loaded is None else self.loaded.positions
        self.learned_positions = table is not None and not is_sincos(table)

    def grid(self, size: Size) -> Grid:
        rows, cols = (side // self.patch for side in sides_of(size, 2))
        return Grid(rows, cols, self.patch)

    def serve(self, passes: Sequence[Encode]) -> None:
        """Make a mask token only where a pass puts it in."""
        if any(p.mode == "token" and p.mask is not None for p in passes):
            loaded = None if self.loaded is None else self.loaded.mask_token
            if loaded is None or loaded.numel() != self.dim:
                self.mask_token = mask_token(self.dim, self.init)
            else:
                self.mask_token = nn.Parameter(loaded.reshape(1, 1, -1).clone())

    def resized(self, state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Sequence[str]]:
        return fitting_backbone(state, self.net, self.positions == "sincos" and not self.learned_positions)

    def notes(self) -> Sequence[str]:
        taken = self.mask_token is not None
        return () if self.loaded is None else tuple(self.loaded.sentences(mask_token_taken=taken))

    def problems(self) -> Iterator[Problem]:
        """`positions: sincos` would keep a learned table as it is."""
        if self.loaded is not None and self.learned_positions and self.positions == "sincos":
            yield Problem(
                "positions",
                f"'sincos' never changes, but {self.loaded.file} holds learned positions; set `positions: learned`",
            )

    def units(self) -> Sequence[nn.Module]:
        """The blocks but the last, whose attention is computed outside of it."""
        blocks: Sequence[nn.Module] = list(self.net.blocks)[:-1]
        return blocks

    def layer_of(self, name: str) -> int:
        """MAE's layer numbers."""
        return vit_layer(name, self.depth)

    def attentions(self, images: Tensor) -> Attentions:
        """The weights of every block, also those of registers."""
        grid = Grid(images.shape[-2] // self.patch, images.shape[-1] // self.patch, self.patch)
        return Attentions(grid, self.prefix, self.net.cls_token is not None, self._weights(images))

    def export(self) -> Exported:
        return Exported(self.architecture, self.arguments, self.net.state_dict())

    def hugging_face(self) -> HuggingFaceModel:
        if not isinstance(self.size, int):
            raise SpecError(
                f"transformers has no such network: it reads images of {self.size}, which are not square"
            )
        return hugging_face_model(self.net, self.size, self.mask_token)

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        embedded = [self._embed(request) for request in requests]
        answers: dict[int, Tokens] = {}
        keys = [self._batch_of(r, x) for r, x in zip(requests, embedded, strict=True)]
        for key in dict.fromkeys(keys):
            members = [i for i, k in enumerate(keys) if k == key]
            batch = [requests[i] for i in members]
            outputs = self._encode(batch, [embedded[i] for i in members])
            answers.update(zip(members, outputs, strict=True))
        return [answers[i] for i in range(len(requests))]

    def _batch_of(self, request: Request, x: Tensor) -> tuple[object, ...]:
        """Requests of equal keys share one batch."""
        if not self.relative:
            return (x.shape[1],)
        return (x.shape[1], request.image.shape[-2:], _dropped(request) is not None)

    def _encode(self, requests: Sequence[Request], embedded: Sequence[Tensor]) -> Iterator[Tokens]:
        """The answers to requests that share a batch."""
        where = self._geometry(requests)
        wanted = {self._block(layer) for request in requests for layer in request.layers}
        # the attention of the last block needs its input, the output of the one before
        wanted |= {self.depth - 2 for request in requests if request.attention}
        last, layers = self._blocks(torch.cat(list(embedded)), where, wanted)
        ends = accumulate((x.shape[0] for x in embedded), initial=0)
        for request, x, (start, end) in zip(requests, embedded, pairwise(ends), strict=True):
            inner = {layer: values[start:end] for layer, values in layers.items()}
            before = inner.get(self.depth - 2, x)
            image, cls, patch, mask, outputs, _ = self._answer(request, last[start:end], inner)
            yield Tokens(image, cls, patch, mask, outputs, self._attention(request, before, where))

    def _geometry(self, requests: Sequence[Request]) -> Geometry:
        """The places of all tokens of requests that share a batch."""
        if not self.relative:
            return Geometry()
        rows, cols = (side // self.patch for side in requests[0].image.shape[-2:])
        kept = [_dropped(request) for request in requests]
        dropped = [keep for keep in kept if keep is not None]
        return geometry(self.net, rows, cols, torch.cat(dropped) if dropped else None)

    def _embed(self, request: Request) -> Tensor:
        """Tokens with positions, `[V * B, prefix + N or K, D]`; hidden patches are never embedded in `drop` mode."""
        images, net = request.image.flatten(0, 1), self.net
        positions = self._positions(images.shape[-2] // self.patch, images.shape[-1] // self.patch)
        patches = conv_patches(images, self.patch)
        patch_positions = None if positions is None else positions[:, -patches.shape[1] :]
        keep = _dropped(request)
        if keep is not None:
            patches = _gather(patches, keep)
            if patch_positions is not None:
                patch_positions = _gather(patch_positions.expand(images.shape[0], -1, -1), keep)
        kernel = net.patch_embed.proj
        x = net.patch_embed.norm(F.linear(patches, kernel.weight.flatten(1), kernel.bias))
        if request.mask is not None and request.mode == "token":
            assert self.mask_token is not None, "`serve` got every pass"
            hidden = request.mask.hidden.flatten(0, 1)[..., None]
            x = torch.where(hidden, self.mask_token.to(x.dtype), x)
        front = self._prefix_tokens(positions, x).to(x.dtype).expand(x.shape[0], -1, -1)
        x = torch.cat([front, x if patch_positions is None else x + patch_positions], dim=1)
        for name in ("pos_drop", "norm_pre"):
            x = getattr(net, name)(x) if hasattr(net, name) else x
        out: Tensor = x
        return out

    def _positions(self, rows: int, cols: int) -> Tensor | None:
        """Position embeddings for a grid, interpolated as timm does (bicubic, antialiased), where there are some."""
        net = self.net
        if getattr(net, "pos_embed", None) is None:
            return None
        table: Tensor = resample_abs_pos_embed(
            net.pos_embed,
            new_size=[rows, cols],
            old_size=list(net.patch_embed.grid_size),
            num_prefix_tokens=0 if self.no_embed_class else self.prefix,
        )
        return table

    def _prefix_tokens(self, positions: Tensor | None, x: Tensor) -> Tensor:
        """Class and register tokens, with positions where the network gives them some: `[1, prefix, D]`."""
        tokens = [t for t in (self.net.cls_token, getattr(self.net, "reg_token", None)) if t is not None]
        if not tokens:
            return x[:1, :0]
        front = torch.cat(tokens, dim=1)
        return front if positions is None or self.no_embed_class else front + positions[:, : self.prefix]

    def _blocks(self, x: Tensor, where: Geometry, wanted: set[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """The normed last output, and the raw outputs of the wanted blocks."""
        layers: dict[int, Tensor] = {}
        for i, block in enumerate(self.net.blocks):
            x = block(x, **block_arguments(self.net, where, i))
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
        return request.answer(cls.unflatten(0, views), patch.unflatten(0, views), layers)

    def _attention(self, request: Request, before: Tensor, where: Geometry) -> Tensor | None:
        """`[V, B, heads, N]`, from the input of the last block, where it is asked for."""
        if not request.attention:
            return None
        if request.mask is not None:
            raise SpecError(
                "backbone: attention is told of passes without a mask only; ask for one beside it"
            )
        rope = rope_of(self.net, where, self.depth - 1)
        block, has_class = self.net.blocks[-1], self.net.cls_token is not None
        weights = class_attention(block, before, self.prefix, has_class, where.bias, rope)
        out: Tensor = weights.unflatten(0, request.image.shape[:2])
        return out

    def _weights(self, images: Tensor) -> Iterator[Tensor]:
        """`[B, heads, T, T]`, block by block."""
        request = Request(images[None], None, "drop", ())
        where, x = self._geometry([request]), self._embed(request)
        for i, block in enumerate(self.net.blocks):
            yield attention_weights(block, x, self.prefix, where.bias, rope_of(self.net, where, i))
            x = block(x, **block_arguments(self.net, where, i))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class token (or the mean of the patches) and patch tokens; registers are left out."""
        patch = x[:, self.prefix :]
        return (x[:, 0] if self.net.cls_token is not None else patch.mean(1)), patch


def _dropped(request: Request) -> Tensor | None:
    """The patches that a request keeps, `[V * B, K]`, where it leaves the others out."""
    if request.mask is None or request.mode != "drop":
        return None
    return request.mask.keep.flatten(0, 1)


def _gather(values: Tensor, keep: Tensor) -> Tensor:
    """The rows `keep` `[B, K]` of `values` `[B, N, D]`."""
    return values.gather(1, keep[..., None].expand(-1, -1, values.shape[-1]))
