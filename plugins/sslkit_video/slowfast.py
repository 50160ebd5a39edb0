"""Two pathways with lateral connections. V crops, B clips, C channels, T frames, n of them slow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.interfaces import Backbone, Encode, Exported, Request, Tokens
from sslkit.nn.batch_norm import BatchNorm
from sslkit.plugin import BatchNormMode, Grid, Size, SpecError, View
from sslkit_video.residual_stages import Norm, Stage, convolution, stage
from sslkit_video.specs.cubes import maps

FAST_STEM_FRAMES = 5  # PySlowFast `_TEMPORAL_KERNEL_BASIS`
FRAMES = 3
"""Frames of the convolutions along time: of the fast pathway's blocks, and of the later half of the slow's stages."""


class Pathways(NamedTuple):
    """The network, as the fields of `slowfast` say."""

    alpha: int
    beta_inv: int
    width: int
    depths: tuple[int, ...]
    block: Literal["bottleneck", "basic"]
    stem: Literal["large", "small"]
    stride: int
    """Height and width of a place of the last maps, in pixels."""
    lateral_kernel: int
    lateral_ratio: int
    batch_norm: BatchNormMode
    splits: int


def slow_frames(frames: int, count: int) -> list[int]:
    """`count` frames from the first to the last in equal steps, rounded down (PySlowFast `pack_pathway_output`)."""
    return [i * (frames - 1) // (count - 1) for i in range(count)] if count > 1 else [0]


@final
class Lateral(nn.Module):
    """What the fast pathway sees, joined to the slow one: a convolution along time in steps of `alpha` frames."""

    def __init__(self, channels: int, ratio: int, kernel: int, alpha: int, norm: Norm) -> None:
        super().__init__()
        self.conv_f2s = convolution(channels, channels * ratio, (kernel, 1, 1), (alpha, 1, 1))
        self.bn = norm(channels * ratio)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        """`[B, C, n, h, w]` and `[B, F, T, h, w]` -> `[B, C + ratio * F, n, h, w]`, the slow channels first."""
        return torch.cat([slow, F.relu(self.bn(self.conv_f2s(fast)))], dim=1)


@final
class Stem(nn.Module):
    """The first convolution of a pathway, with batch norm, and pooling where frames are large."""

    def __init__(self, channels: int, width: int, frames: int, *, large: bool, norm: Norm) -> None:
        super().__init__()
        side, stride = (7, 2) if large else (3, 1)
        self.conv = convolution(channels, width, (frames, side, side), (1, stride, stride))
        self.bn, self.large = norm(width), large

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` -> `[B, width, T, H / 4, W / 4]`, or of the same sides."""
        out = F.relu(self.bn(self.conv(x)))
        return F.max_pool3d(out, (1, 3, 3), (1, 2, 2), (0, 1, 1)) if self.large else out


@final
class SlowFastBackbone(Backbone):
    """Patches are the last maps of both pathways, the fast one's mean over the frames of each place in time."""

    depth = 1

    def __init__(self, shape: Pathways, view: View, *, views_apart: bool = True) -> None:
        """`views_apart`: whether each crop of a view is a batch of its own to batch norm."""
        super().__init__()
        self.alpha, self.stride, self.views_apart = shape.alpha, shape.stride, views_apart
        self.grid(view.extent)
        norm = partial(BatchNorm, mode=shape.batch_norm, splits=shape.splits)
        large, thin = shape.stem == "large", shape.width // shape.beta_inv
        self.slow_stem = Stem(view.channels, shape.width, 1, large=large, norm=norm)
        self.fast_stem = Stem(view.channels, thin, FAST_STEM_FRAMES, large=large, norm=norm)
        self.laterals, self.slow, self.fast = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        wide = shape.width
        for number, depth in enumerate(shape.depths):
            self.laterals.append(Lateral(thin, shape.lateral_ratio, shape.lateral_kernel, shape.alpha, norm))
            early, stride = number < len(shape.depths) // 2, min(number, 1) + 1
            inner = shape.width * 2**number
            slow = Stage(shape.block, depth, inner, 1 if early else FRAMES, stride)
            fast = Stage(shape.block, depth, inner // shape.beta_inv, FRAMES, stride)
            self.slow.append(stage(wide + thin * shape.lateral_ratio, slow, norm))
            self.fast.append(stage(thin, fast, norm))
            wide, thin = slow.width, fast.width
        self.dim = wide + thin

    def grid(self, size: Size) -> Grid:
        return maps(size, self.alpha, self.stride)

    def serve(self, passes: Sequence[Encode]) -> None:
        """Raises SpecError for passes with a mask."""
        if any(p.mask is not None for p in passes):
            raise _masks()

    def units(self) -> Sequence[nn.Module]:
        """The blocks."""
        return [
            block for stages in (self.slow, self.fast) for blocks in stages for block in blocks.children()
        ]

    def export(self) -> Exported:
        raise SpecError("timm has no networks of clips; `sslkit export` writes networks of images only")

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        """Requests never share a batch; see `views_apart`."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Tokens:
        if request.mask is not None:
            raise _masks()
        if request.attention:
            raise SpecError("backbone: 'slowfast' has no attention; use a 'video_vit'")
        if any(layer not in (0, -1) for layer in request.layers):
            raise SpecError(
                f"layer {request.layers[0]} does not exist: of a 'slowfast' only the last maps can be read (0 or -1), "
                "as those of earlier stages have other widths and sizes"
            )
        patch = self._maps(request.image).flatten(3).mT
        cls = patch.mean(2)
        whole = (torch.cat([cls[:, :, None], patch], dim=2),) if request.layers else ()
        return request.answer(cls, patch, whole * len(request.layers))

    def _maps(self, clips: Tensor) -> Tensor:
        """`[V, B, D, n, h, w]`."""
        if self.views_apart:
            return torch.stack([self._joined(crop) for crop in clips])
        joined: Tensor = self._joined(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return joined

    def _joined(self, clips: Tensor) -> Tensor:
        """The last maps of both pathways, `[B, C, T, H, W]` -> `[B, D, n, h, w]`."""
        frames = clips.shape[2]
        numbers = slow_frames(frames, self.grid(tuple(clips.shape[2:])).shape[0])
        slow = self.slow_stem(torch.stack([clips[:, :, frame] for frame in numbers], dim=2))
        fast = self.fast_stem(clips)
        for lateral, wide, thin in zip(self.laterals, self.slow, self.fast, strict=True):
            slow, fast = wide(lateral(slow, fast)), thin(fast)
        return torch.cat([slow, fast.unflatten(2, (-1, self.alpha)).mean(3)], dim=1)


def _masks() -> SpecError:
    return SpecError(
        "backbone: 'slowfast' cannot hide cubelets; for an objective with a masker use a 'video_vit'"
    )
