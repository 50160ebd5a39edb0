"""Clips: frames of videos, cut in time and space. B videos, T frames, (H, W) sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.random_boxes import random_boxes
from sslkit.functional.resize import center_crop_box, resize_crop
from sslkit.interfaces import CropPlace, Draw, Transform, to_float, to_uint8
from sslkit_video.frame_numbers import by_motion, paired_starts, random_start, segmented, spanned, strided


class Sampling(NamedTuple):
    """How a clip is cut, as the fields of `frames` say."""

    rule: Literal["stride", "span", "segments", "motion"]
    stride: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    power: float | None = None
    """Of the density of the distance of two crops; None: they are independent."""
    grow_steps: int = 0


@final
class Clips(Transform):
    """Draws the frames of each video, and one box and one flip for all of them."""

    channels = 0

    def __init__(self, how: Sampling, sides: Sequence[int]) -> None:
        """`sides`: frames, height, width."""
        self.how = how
        self.frames, self.height, self.width = sides

    def __call__(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        """`[B, C, T, H, W]`, of the type of the samples where that is uint8, else float32."""
        return self._drawn(samples, draw, self.how.stride, None)

    def crop(self, samples: Sequence[Tensor], draw: Draw, place: CropPlace) -> Tensor:
        """As a call, with the stride of the step, and the start that goes with that of the other crop."""
        stride = self.stride_at(place.step)
        if self.how.power is None:
            return self._drawn(samples, draw, stride, None)
        rooms = torch.tensor([max(x.shape[1] - (self.frames - 1) * stride, 1) for x in samples])
        shares = Draw(place.shared.key, place.shared.rows.reshape(-1).cpu()).uniform(3)
        starts = paired_starts(shares, rooms, self.how.power)
        return self._drawn(samples, draw, stride, starts[:, place.crop % 2])

    def stride_at(self, step: int) -> int:
        """It grows evenly from 1, rounded down."""
        if step >= self.how.grow_steps:
            return self.how.stride
        return 1 + (self.how.stride - 1) * step // self.how.grow_steps

    def _drawn(self, samples: Sequence[Tensor], draw: Draw, stride: int, start: Tensor | None) -> Tensor:
        """Clips that begin at `start` `[B]`, or anywhere."""
        draw = Draw(draw.key, draw.rows.reshape(-1).cpu())
        lengths, heights, widths = (torch.tensor([x.shape[axis] for x in samples]) for axis in (1, 2, 3))
        shares = draw.uniform(self.frames)
        aspect = self.width / self.height
        ratio = (self.how.ratio[0] * aspect, self.how.ratio[1] * aspect)
        boxes = random_boxes(draw, heights, widths, self.how.scale, ratio)
        flips = draw.chance(self.how.flip)
        clips = self._cut(samples, self.numbers(samples, lengths, shares, stride, start), boxes)
        return torch.where(flips[:, None, None, None, None].to(clips.device), clips.flip(-1), clips)

    def fixed(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        """The middle of each video, and the largest central part of its frames."""
        lengths = torch.tensor([x.shape[1] for x in samples])
        halves = torch.full((len(samples), self.frames), 0.5)
        boxes = [center_crop_box(x.shape[2], x.shape[3], aspect=self.width / self.height) for x in samples]
        return self._cut(
            samples, self.numbers(samples, lengths, halves, self.how.stride), torch.tensor(boxes)
        )

    def numbers(
        self,
        samples: Sequence[Tensor],
        lengths: Tensor,
        shares: Tensor,
        stride: int,
        start: Tensor | None = None,
    ) -> Tensor:
        """`[B, T]` int64, from numbers `shares` `[B, T]` in [0, 1); all but `segments` read the first of a row."""
        rule, span = (
            self.how.rule,
            stride * self.frames,
        )  # VideoMAE `kinetics.py:519`, SlowFast `decoder.py:36`
        if rule == "segments":
            return segmented(shares, lengths)
        if rule == "span":  # a real start, as in SlowFast
            begin = shares[:, 0] * (lengths - span).clamp(min=0) if start is None else start
            return spanned(begin, span, lengths, self.frames)
        first = random_start(shares[:, 0], lengths, span) if start is None else start
        if rule == "stride":
            return strided(first, lengths, self.frames, stride)
        parts = [x[:, int(i) : int(i) + span] for x, i in zip(samples, first, strict=True)]
        return first[:, None] + torch.stack([self._moving(part) for part in parts])

    def _moving(self, part: Tensor) -> Tensor:
        """`[T]`: frames of `part` `[C, L, H, W]`, more of them where more changes."""
        if part.shape[1] < 2:
            return torch.zeros(self.frames, dtype=torch.int64)
        return by_motion(to_float(part).diff(dim=1).abs().mean(dim=(0, 2, 3)).cpu(), self.frames)

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
