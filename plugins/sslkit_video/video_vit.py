"""Vision transformers on clips. V crops, B clips, N cubelets, D width."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.patches import grid_patches
from sslkit.interfaces import Backbone, Encode, Exported, Request, Tokens
from sslkit.nn.initialization import xavier
from sslkit.plugin import Grid, Size, SpecError, View
from sslkit_video.image_weights import How, inflated
from sslkit_video.specs.cubes import cubes
from sslkit_video.video_blocks import DividedBlock, joint_block, norm_layer
from sslkit_video.video_positions import Kind, Positions


class VideoShape(NamedTuple):
    """The network, as the fields of `video_vit` say."""

    tubelet: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float
    class_token: bool
    attention: Literal["joint", "divided"]
    positions: Kind


@final
class PatchEmbed(nn.Module):
    """A convolution over cubelets, as a matrix product on patches."""

    def __init__(self, channels: int, sides: Sequence[int], width: int) -> None:
        super().__init__()
        frames, height, cols = sides
        kernel = (frames, height, cols)
        self.proj = nn.Conv3d(channels, width, kernel, kernel)

    def forward(self, patches: Tensor) -> Tensor:
        """`[B, N, C * t * p * p]` -> `[B, N, D]`."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


@final
class VideoViTBackbone(Backbone):
    """Cubelets, positions, blocks, a norm. Hidden cubelets are left out, or replaced by a mask token."""

    def __init__(
        self, shape: VideoShape, view: View, checkpoint: Path | None = None, how: How = "mean"
    ) -> None:
        """`checkpoint`: weights of images to begin with; `how` they are inflated."""
        super().__init__()
        self.shape = shape
        self.cubes = cubes(view.sides, shape.tubelet, shape.patch)
        self.dim, self.depth, self.prefix = shape.width, shape.depth, int(shape.class_token)
        self.patch_embed = PatchEmbed(view.channels, self.cubes.sides, shape.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width)) if shape.class_token else None
        self.mask_token: nn.Parameter | None = None
        self.positions = Positions(shape.positions, self.cubes, shape.width)
        self.blocks = nn.ModuleList([self._block() for _ in range(shape.depth)])
        self.norm = norm_layer(shape.width)
        xavier(self.blocks)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)
        self.taken: tuple[str, ...] = ()
        if checkpoint is not None:
            self.taken = inflated(self, self.positions, self.cubes, checkpoint, how)

    def _block(self) -> nn.Module:
        shape = self.shape
        if shape.attention == "joint":
            block: nn.Module = joint_block(shape.width, shape.heads, shape.mlp_ratio)
            return block
        return DividedBlock(shape.width, shape.heads, shape.mlp_ratio, self.prefix)

    def grid(self, size: Size) -> Grid:
        return cubes(size, self.shape.tubelet, self.shape.patch)

    def serve(self, passes: Sequence[Encode]) -> None:
        """Make a mask token only where a pass puts it in.

        Raises:
            SpecError: a pass leaves cubelets out, which divided attention cannot.
        """
        modes = {p.mode for p in passes if p.mask is not None}
        if "drop" in modes and self.shape.attention == "divided":
            raise SpecError(
                "video_vit: `attention: divided` needs every token, and an objective leaves hidden ones out; "
                "use `attention: joint`, or an objective with mask tokens, such as `simmim`"
            )
        if "token" in modes:
            self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, self.dim), std=0.02))

    def notes(self) -> Sequence[str]:
        return self.taken

    def units(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    def layer_of(self, name: str) -> int:
        """0 for embeddings and positions, one for each block, and the last norm after them."""
        part, _, rest = name.partition(".")
        if part == "blocks":
            return int(rest.partition(".")[0]) + 1
        return self.depth + 1 if part == "norm" else 0

    def export(self) -> Exported:
        raise SpecError("timm has no transformers on clips; `sslkit export` writes networks of images only")

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        """Passes of as many tokens and moments share a batch."""
        embedded = [self._embed(request) for request in requests]
        answers: dict[int, Tokens] = {}
        keys = [(x.shape[1], self._moments(r)) for r, x in zip(requests, embedded, strict=True)]
        for key in dict.fromkeys(keys):
            members = [i for i, one in enumerate(keys) if one == key]
            wanted = {self._number(layer) for i in members for layer in requests[i].layers}
            last, layers = self._encode(torch.cat([embedded[i] for i in members]), key[1], wanted)
            ends = [len(embedded[i]) for i in members]
            split = {layer: values.split(ends) for layer, values in layers.items()}
            for place, (i, values) in enumerate(zip(members, last.split(ends), strict=True)):
                inner = {layer: parts[place] for layer, parts in split.items()}
                answers[i] = self._answer(requests[i], values, inner)
        return [answers[i] for i in range(len(requests))]

    def _embed(self, request: Request) -> Tensor:
        """Tokens with positions, `[V * B, prefix + N or K, D]`; hidden cubelets are never embedded in `drop` mode."""
        if request.attention:
            raise SpecError("video_vit: does not tell its attention")
        clips = request.image.flatten(0, 1)
        patches = grid_patches(clips, self.cubes.sides, channels_first=True)
        positions = self.positions(self.grid(tuple(clips.shape[2:])).shape).to(clips.dtype)
        positions = positions.expand(len(clips), -1, -1)
        if request.mask is not None and request.mode == "drop":
            keep = request.mask.keep.flatten(0, 1)
            patches, positions = _gather(patches, keep), _gather(positions, keep)
        x: Tensor = self.patch_embed(patches)
        if request.mask is not None and request.mode == "token":
            assert self.mask_token is not None, "`serve` got every pass"
            x = torch.where(request.mask.hidden.flatten(0, 1)[..., None], self.mask_token.to(x.dtype), x)
        x = x + positions
        if self.cls_token is None:
            return x
        return torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)

    def _moments(self, request: Request) -> int:
        return int(request.image.shape[3]) // self.cubes.sides[0]

    def _encode(self, x: Tensor, moments: int, wanted: set[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """The normed last output, and the raw outputs of the wanted blocks."""
        layers: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks):
            x = block(x, moments) if self.shape.attention == "divided" else block(x)
            if number in wanted:
                layers[number] = x
        return self.norm(x), layers

    def _number(self, layer: int) -> int:
        if not -self.depth <= layer < self.depth:
            raise SpecError(f"layer {layer} does not exist: video_vit has {self.depth} blocks")
        return layer % self.depth

    def _answer(self, request: Request, last: Tensor, inner: dict[int, Tensor]) -> Tokens:
        views = request.image.shape[:2]
        cls, patch = self._split(last)
        layers = tuple(
            torch.cat([c[:, None], p], dim=1).unflatten(0, views)
            for c, p in (self._split(inner[self._number(layer)]) for layer in request.layers)
        )
        return request.answer(cls.unflatten(0, views), patch.unflatten(0, views), layers)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class token, or the mean of the cubelets, and their tokens."""
        patch = x[:, self.prefix :]
        return (x[:, 0] if self.prefix else patch.mean(1)), patch


def _gather(values: Tensor, keep: Tensor) -> Tensor:
    """The rows `keep` `[B, K]` of `values` `[B, N, D]`."""
    return values.gather(1, keep[..., None].expand(-1, -1, values.shape[-1]))
