"""Residual blocks on clips. B clips, C channels, T frames; kernels are (frames, rows, columns)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, final

import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Batch norm of so many channels."""
Kernel = tuple[int, int, int]


class Stage(NamedTuple):
    """Blocks of one width."""

    block: Literal["bottleneck", "basic"]
    depth: int
    inner: int
    """Channels of the convolutions; those of a bottleneck's last are four times as many."""
    frames: int
    """Frames of the first convolution of each block: 1 where it sees none but its own."""
    stride: int
    """Of the first block, along rows and columns."""

    @property
    def width(self) -> int:
        """Channels of its output."""
        return self.inner * (4 if self.block == "bottleneck" else 1)


def convolution(channels: int, width: int, kernel: Kernel, stride: Kernel = (1, 1, 1)) -> nn.Conv3d:
    """One that keeps the size where its stride is 1; initialized as He et al. 2015 do (PySlowFast `c2_msra_fill`)."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv = nn.Conv3d(channels, width, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def stage(channels: int, shape: Stage, norm: Norm) -> nn.Sequential:
    """`[B, channels, T, H, W]` -> `[B, shape.width, T, H / stride, W / stride]`."""
    first = ResidualBlock(channels, shape, shape.stride, norm)
    return nn.Sequential(first, *(ResidualBlock(shape.width, shape, 1, norm) for _ in range(shape.depth - 1)))


@final
class ResidualBlock(nn.Module):
    """Convolutions with batch norm beside a shortcut; the last batch norm begins at 0, so that it begins as that."""

    def __init__(self, channels: int, shape: Stage, stride: int, norm: Norm) -> None:
        super().__init__()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != shape.width:
            to_width = convolution(channels, shape.width, (1, 1, 1), (1, stride, stride))
            self.shortcut = nn.Sequential(to_width, norm(shape.width))
        convs = (_bottleneck if shape.block == "bottleneck" else _basic)(channels, shape, stride)
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(norm(conv.out_channels) for conv in convs)
        nn.init.zeros_(self.norms[-1].get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            out = norm(conv(out if number == 0 else F.relu(out)))
        return F.relu(self.shortcut(x) + out)


def _bottleneck(channels: int, shape: Stage, stride: int) -> list[nn.Conv3d]:
    """Frames in the first, rows and columns in the second, which has the stride (PySlowFast `BottleneckTransform`)."""
    return [
        convolution(channels, shape.inner, (shape.frames, 1, 1)),
        convolution(shape.inner, shape.inner, (1, 3, 3), (1, stride, stride)),
        convolution(shape.inner, shape.width, (1, 1, 1)),
    ]


def _basic(channels: int, shape: Stage, stride: int) -> list[nn.Conv3d]:
    """Frames, rows, columns and the stride in the first (PySlowFast `BasicTransform`)."""
    return [
        convolution(channels, shape.inner, (shape.frames, 3, 3), (1, stride, stride)),
        convolution(shape.inner, shape.width, (1, 3, 3)),
    ]
