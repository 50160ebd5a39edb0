"""Weights of a ViT of images as the beginning of a network on clips (I3D, ViViT)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from sslkit.plugin import CheckpointError, Grid, read_bytes
from sslkit_video.video_positions import Positions

How = Literal["mean", "center"]
"""Equal shares of the frames of a cubelet, or all in the middle one."""


@torch.no_grad()
def inflated(net: nn.Module, positions: Positions, grid: Grid, path: Path, how: How) -> tuple[str, ...]:
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
    table = state.pop("pos_embed", None)
    ours = net.state_dict()
    weights = {name: state[name] for name in ours if name in state and name != "patch_embed.proj.weight"}
    kernel = _kernel(ours["patch_embed.proj.weight"], state, how, where)
    _require_blocks(ours, weights, where)
    net.load_state_dict({**weights, "patch_embed.proj.weight": kernel}, strict=False)
    share = {"mean": "an equal share in each frame", "center": "all in the middle frame"}[how]
    sentences = [f"backbone: {path.name}: patch embedding inflated to {grid.sides[0]} frames, {share}"]
    if table is not None:
        taken = positions.begin(_resampled(grid, positions.width, table[0], where))
        sentences.append(
            f"backbone: {path.name}: positions "
            + ("repeated in every moment" if taken else "left: those of the spec are fixed")
        )
    left = sorted(state.keys() - weights.keys() - {"patch_embed.proj.weight", "cls_token"})
    if left:
        sentences.append(f"backbone: {path.name}: left: {', '.join(left)}")
    return tuple(sentences)


def _kernel(ours: Tensor, state: Mapping[str, Tensor], how: str, where: str) -> Tensor:
    """`[D, C, t, p, p]`, whose sum over frames is the kernel of the file."""
    flat = state.get("patch_embed.proj.weight")
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


def _require_blocks(ours: Mapping[str, Tensor], weights: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError unless every block is there, in our sizes."""
    for name in (name for name in ours if name.startswith("blocks.")):
        theirs = weights.get(name)
        if theirs is None:
            raise CheckpointError(f"{where}: has no `{name}`; set `depth` to that of the file")
        if theirs.shape != ours[name].shape:
            raise CheckpointError(
                f"{where}: `{name}` is {list(theirs.shape)}, expected {list(ours[name].shape)}; set `width` and "
                "`mlp_ratio`"
            )


def _resampled(grid: Grid, width: int, table: Tensor, where: str) -> Tensor:
    """Positions `[S, D]` of one moment, from those of a square grid of patches behind a class token, or none."""
    rows, cols = grid.shape[1:]
    side = int(len(table) ** 0.5)
    places = table[len(table) - side * side :]
    if table.shape[-1] != width:
        raise CheckpointError(f"{where}: `pos_embed` has width {table.shape[-1]}, expected {width}")
    if (side, side) == (rows, cols):
        return places
    square = places.T.reshape(1, width, side, side)
    sized = F.interpolate(square, (rows, cols), mode="bicubic", antialias=True, align_corners=False)
    return sized[0].flatten(1).T
