"""Clips: frames of videos, cut in time and space. B videos, T frames, (H, W) sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.random_boxes import random_boxes
from sslkit.functional.resize import center_crop_box, resize_crop
from sslkit.interfaces import Draw, Transform, to_float, to_uint8
from sslkit_video.frame_numbers import by_motion, random_start, segmented, spanned, strided


class Sampling(NamedTuple):
    """How a clip is cut, as the fields of `frames` say."""

    rule: Literal["stride", "span", "segments", "motion"]
    stride: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: float


@final
class Clips(Transform):
    """Draws the frames of each video, and one box and one flip for all of them."""

    channels = 0

    def __init__(self, how: Sampling, sides: Sequence[int]) -> None:
        """`sides`: frames, height, width."""
        self.how = how
        self.frames, self.height, self.width = sides
        self.span = how.stride * self.frames  # VideoMAE `kinetics.py:519`, SlowFast `decoder.py:36`

    def __call__(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        """`[B, C, T, H, W]`, of the type of the samples where that is uint8, else float32."""
        draw = Draw(draw.key, draw.rows.reshape(-1).cpu())
        lengths, heights, widths = (torch.tensor([x.shape[axis] for x in samples]) for axis in (1, 2, 3))
        shares = draw.uniform(self.frames)
        aspect = self.width / self.height
        ratio = (self.how.ratio[0] * aspect, self.how.ratio[1] * aspect)
        boxes = random_boxes(draw, heights, widths, self.how.scale, ratio)
        flips = draw.chance(self.how.flip)
        clips = self._cut(samples, self.numbers(samples, lengths, shares), boxes)
        return torch.where(flips[:, None, None, None, None].to(clips.device), clips.flip(-1), clips)

    def fixed(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        """The middle of each video, and the largest central part of its frames."""
        lengths = torch.tensor([x.shape[1] for x in samples])
        halves = torch.full((len(samples), self.frames), 0.5)
        boxes = [center_crop_box(x.shape[2], x.shape[3], aspect=self.width / self.height) for x in samples]
        return self._cut(samples, self.numbers(samples, lengths, halves), torch.tensor(boxes))

    def numbers(self, samples: Sequence[Tensor], lengths: Tensor, shares: Tensor) -> Tensor:
        """`[B, T]` int64, from numbers `shares` `[B, T]` in [0, 1); all but `segments` read the first of a row."""
        rule = self.how.rule
        if rule == "segments":
            return segmented(shares, lengths)
        if rule == "span":  # a real start, as in SlowFast
            return spanned(shares[:, 0] * (lengths - self.span).clamp(min=0), self.span, lengths, self.frames)
        start = random_start(shares[:, 0], lengths, self.span)
        if rule == "stride":
            return strided(start, lengths, self.frames, self.how.stride)
        return torch.stack([self._moving(x, int(first)) for x, first in zip(samples, start, strict=True)])

    def _moving(self, video: Tensor, first: int) -> Tensor:
        """`[T]`: frames from `first`, more of them where more changes."""
        part = to_float(video[:, first : first + self.span])
        if part.shape[1] < 2:
            return torch.full((self.frames,), first)
        return first + by_motion(part.diff(dim=1).abs().mean(dim=(0, 2, 3)).cpu(), self.frames)

    def _cut(self, samples: Sequence[Tensor], numbers: Tensor, boxes: Tensor) -> Tensor:
        """`[B, C, T, H, W]`: frames as the channels of one image each, so that they share their box."""
        if len({(x.shape[0], *x.shape[2:], x.dtype) for x in samples}) > 1:
            return _together(
                [self._cut([x], n[None], b[None]) for x, n, b in zip(samples, numbers, boxes, strict=True)]
            )
        stored = torch.stack([x[:, n.to(x.device)] for x, n in zip(samples, numbers, strict=True)])
        sides = (self.height, self.width)
        crops = resize_crop(to_float(stored).flatten(1, 2), boxes.to(stored.device), sides)
        crops = crops.unflatten(1, stored.shape[1:3])
        return to_uint8(crops) if stored.dtype == torch.uint8 else crops.clamp(0, 1)


def _together(clips: Sequence[Tensor]) -> Tensor:
    """One tensor of clips, in a type that holds them all."""
    if len({clip.dtype for clip in clips}) > 1:
        clips = [to_float(clip) for clip in clips]
    return torch.cat(list(clips))
