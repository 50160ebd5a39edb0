"""Digits that move, turn and bounce, drawn from a seed. N videos, T frames, S pixels a side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from sslkit.interfaces import Source, digest, seeds, stacked

DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
SPEEDS = ("slow", "middle", "fast")
TURNS = ("left", "none", "right")
REGIONS = ("background", "digit")
INSIDE = 64
"""Least brightness of a pixel that is one of the digit, of 255."""
IN_MEMORY = 1 << 30
"""Bytes of videos that are kept, drawn once; more are drawn when they are read."""
AT_ONCE = 256
"""Videos that are drawn together."""


class Shape(NamedTuple):
    """Of all videos, as the fields of `moving_digits` say."""

    frames: int
    size: int
    digit: int
    speeds: tuple[float, float, float]
    turn: float


class Motion(NamedTuple):
    """What happens in N videos."""

    digit: Tensor
    """`[N]` int64, a place among the images of digits."""
    direction: Tensor
    """`[N]` int64, a place in `DIRECTIONS`, in the middle of the video."""
    speed: Tensor
    """`[N]` int64, a place in `SPEEDS`."""
    turning: Tensor
    """`[N]` int64, a place in `TURNS`."""
    middle: Tensor
    """`[N, 2]` float32 in [0, 1): column and row in the middle of the video, as shares of the room."""
    angle: Tensor
    """`[N]` float32, radians, in the middle."""


def motions(images: int, count: int, seed: int, split: str) -> Motion:
    """Draw `count` videos of so many images of digits; a video depends on seed, split and its own number."""
    draw = seeds.draw(seed, "moving_digits", split, rows=torch.arange(count))
    return Motion(
        draw.integers(images),
        draw.integers(len(DIRECTIONS)),
        draw.integers(len(SPEEDS)),
        draw.integers(len(TURNS)),
        draw.uniform(2),
        draw.uniform(low=-math.pi / 6, high=math.pi / 6),
    )


def bounced(place: Tensor, room: float) -> Tensor:
    """`place` in pixels, any number, mirrored at 0 and at `room` until it lies between."""
    around = torch.remainder(place, 2 * room)
    return torch.minimum(around, 2 * room - around)


def drawn(digits: Tensor, motion: Motion, shape: Shape) -> Tensor:
    """The videos `[N, 1, T, S, S]` uint8 of `motion`; `digits` `[M, 8, 8]` float32 in [0, 1]."""
    after = torch.arange(shape.frames, dtype=torch.float32) - (shape.frames - 1) / 2
    room = shape.size - shape.digit
    heading = motion.direction * (2 * math.pi / len(DIRECTIONS))
    step = (
        torch.stack([heading.cos(), heading.sin()], dim=-1)
        * torch.tensor(shape.speeds)[motion.speed][:, None]
    )
    corner = bounced(motion.middle[:, None] * room + step[:, None] * after[:, None], room)  # [N, T, 2]
    turn = motion.angle[:, None] + (motion.turning[:, None] - 1) * math.radians(shape.turn) * after
    center = (corner + shape.digit / 2) * (2 / shape.size) - 1
    scale = shape.size / shape.digit
    cos, sin = turn.cos() * scale, turn.sin() * scale
    rows = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)  # [N, T, 2, 2]
    theta = torch.cat([rows, -(rows @ center[..., None])], dim=-1).flatten(0, 1)
    pictures = digits[motion.digit].repeat_interleave(shape.frames, 0)[:, None]
    grid = F.affine_grid(theta, [len(theta), 1, shape.size, shape.size], align_corners=False)
    frames = F.grid_sample(pictures, grid, mode="bilinear", align_corners=False)
    videos: Tensor = (frames * 255).round().to(torch.uint8).unflatten(0, (-1, shape.frames))
    return videos.transpose(1, 2)


@lru_cache(maxsize=2)
def _digits(split: str) -> tuple[Tensor, Tensor]:
    """Images `[M, 8, 8]` float32 in [0, 1] and their labels, of one of two parts without a common image."""
    bunch = load_digits()
    parts = train_test_split(
        np.arange(len(bunch.target)), test_size=0.2, stratify=bunch.target, random_state=0
    )
    rows = np.sort(parts[split == "test"])
    return torch.from_numpy(bunch.images[rows] / 16).float(), torch.from_numpy(bunch.target[rows]).long()


@final
class MovingDigitsSource(Source):
    """Videos of one split, kept in memory where they fit."""

    channels = 1
    classes = tuple("0123456789")
    regions = REGIONS
    attribute_values: Mapping[str, tuple[str, ...]] = {
        "direction": DIRECTIONS,
        "speed": SPEEDS,
        "turning": TURNS,
    }

    def __init__(self, shape: Shape, split: str, count: int, seed: int) -> None:
        self.shape, self.split = shape, split
        self.digits, labels = _digits(split)
        self.motion = motions(len(labels), count, seed, split)
        self.labels = labels[self.motion.digit]
        self.attributes = {
            "direction": self.motion.direction,
            "speed": self.motion.speed,
            "turning": self.motion.turning,
        }
        self.sizes = frozenset({(shape.size, shape.size)})

    def __len__(self) -> int:
        return len(self.motion.digit)

    def load(self, index: int) -> Tensor:
        """`[1, T, S, S]` uint8."""
        if self._fits:
            return self._all[index]
        return drawn(self.digits, Motion(*(part[index : index + 1] for part in self.motion)), self.shape)[0]

    def name(self, index: int) -> str:
        return f"moving digits, {self.split} video {index}"

    def mask(self, index: int) -> Tensor:
        """`[T, S, S]`: where the digit is, in each frame."""
        return (self.load(index)[0] >= INSIDE).to(torch.uint8)

    def digests(self) -> NDArray[np.uint8]:
        """Over what is drawn and how, so that no video need be drawn."""
        how = repr(tuple(self.shape)).encode()
        parts = [part.reshape(len(self), -1).numpy() for part in self.motion[1:]]
        digits = self.digits[self.motion.digit].numpy()
        return stacked(
            [
                digest(how + digits[i].tobytes() + b"".join(part[i].tobytes() for part in parts))
                for i in range(len(self))
            ]
        )

    def resident(self) -> Tensor | None:
        """All videos, `[N, 1, T, S, S]`, unless they are too many."""
        return self._all if self._fits else None

    @property
    def _fits(self) -> bool:
        return len(self) * self.shape.frames * self.shape.size**2 <= IN_MEMORY

    @cached_property
    def _all(self) -> Tensor:
        chunks = [
            Motion(*parts) for parts in zip(*(part.split(AT_ONCE) for part in self.motion), strict=True)
        ]
        return torch.cat([drawn(self.digits, chunk, self.shape) for chunk in chunks])
