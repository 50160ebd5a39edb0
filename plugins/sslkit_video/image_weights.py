"""Weights of a ViT of images as the beginning of a network on clips (I3D, ViViT)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from sslkit.plugin import CheckpointError, read_bytes

if TYPE_CHECKING:
    from sslkit_video.video_vit import VideoViTBackbone


class Inflated(NamedTuple):
    """What was taken."""

    sentences: tuple[str, ...]


@torch.no_grad()
def inflated(net: VideoViTBackbone, path: Path, how: Literal["mean", "center"]) -> Inflated:
    """Give `net` the weights in `path`, named as timm's ViT has them, and say what became of them.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit; the message names them.
    """
    where = f"backbone.checkpoint: {path}"
    try:
        state = load(read_bytes(path, CheckpointError))
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{where}: is no safetensors file ({' '.join(str(error).split())[:200]})"
        ) from None
    positions = state.pop("pos_embed", None)
    weights = {
        name: state[name] for name in net.state_dict() if name in state and name != "patch_embed.proj.weight"
    }
    kernel = _kernel(net, state, how, where)
    _require_blocks(net, weights, where)
    net.load_state_dict({**weights, "patch_embed.proj.weight": kernel}, strict=False)
    share = {"mean": "an equal share in each frame", "center": "all in the middle frame"}[how]
    sentences = [f"backbone: {path.name}: patch embedding inflated to {net.cubes.sides[0]} frames, {share}"]
    if positions is not None:
        taken = net.positions.begin(_resampled(net, positions[0], where))
        sentences.append(
            f"backbone: {path.name}: positions "
            + ("repeated in every moment" if taken else "left: those of the spec are fixed")
        )
    left = sorted(state.keys() - weights.keys() - {"patch_embed.proj.weight", "cls_token"})
    if left:
        sentences.append(f"backbone: {path.name}: left: {', '.join(left)}")
    return Inflated(tuple(sentences))


def _kernel(net: VideoViTBackbone, state: Mapping[str, Tensor], how: str, where: str) -> Tensor:
    """`[D, C, t, p, p]`, whose sum over frames is the kernel of the file."""
    flat, ours = state.get("patch_embed.proj.weight"), net.patch_embed.proj.weight
    if flat is None:
        raise CheckpointError(
            f"{where}: has no `patch_embed.proj.weight`, so it is no ViT as timm names its weights"
        )
    expected = (ours.shape[0], ours.shape[1], *ours.shape[3:])
    if flat.shape != expected:
        raise CheckpointError(
            f"{where}: `patch_embed.proj.weight` is {list(flat.shape)}, expected {list(expected)}; set `width` and "
            "`patch`, and give the view as many channels"
        )
    frames = ours.shape[2]
    if how == "mean":
        return flat[:, :, None].expand_as(ours) / frames
    kernel = torch.zeros_like(ours)
    kernel[:, :, frames // 2] = flat
    return kernel


def _require_blocks(net: VideoViTBackbone, weights: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError unless every block is there, in the sizes of `net`."""
    for name, ours in net.blocks.state_dict(prefix="blocks.").items():
        theirs = weights.get(name)
        if theirs is None:
            raise CheckpointError(f"{where}: has no `{name}`; set `depth` to that of the file")
        if theirs.shape != ours.shape:
            raise CheckpointError(
                f"{where}: `{name}` is {list(theirs.shape)}, expected {list(ours.shape)}; set `width` and `mlp_ratio`"
            )


def _resampled(net: VideoViTBackbone, table: Tensor, where: str) -> Tensor:
    """Positions `[S, D]` of one moment, from those of a square grid of patches behind a class token, or none."""
    rows, cols = net.cubes.shape[1:]
    side = int(len(table) ** 0.5)
    places = table[len(table) - side * side :]
    if table.shape[-1] != net.dim:
        raise CheckpointError(f"{where}: `pos_embed` has width {table.shape[-1]}, expected {net.dim}")
    if (side, side) == (rows, cols):
        return places
    square = places.T.reshape(1, net.dim, side, side)
    sized = F.interpolate(square, (rows, cols), mode="bicubic", antialias=True, align_corners=False)
    return sized[0].flatten(1).T
