"""Augmentations of spectrograms `[B, 1, time, frequency]`."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Augment, Draw
from sslkit_audio.kaldi_fbank import decibels_to_log


@final
class SpecAugmentMasks(Augment):
    """Bands of frames and of frequencies become `fill`; each is 0 to `width` wide and lies anywhere."""

    def __init__(self, times: tuple[int, int], frequencies: tuple[int, int], fill: float) -> None:
        """`times`, `frequencies`: number of bands, and most of their width."""
        self.times, self.frequencies, self.fill = times, frequencies, fill

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        frames = _bands(draw, images.shape[-2], *self.times)
        bins = _bands(draw, images.shape[-1], *self.frequencies)
        return images.masked_fill((frames[:, :, None] | bins[:, None, :])[:, None], self.fill)


def _bands(draw: Draw, length: int, count: int, most: int) -> Tensor:
    """`[B, length]`, true inside of `count` bands."""
    width = draw.integers(min(most, length) + 1, count)
    start = (draw.uniform(count) * (length - width + 1)).long()
    place = torch.arange(length, device=draw.device)
    return ((place >= start[..., None]) & (place < (start + width)[..., None])).any(-2)


@final
class TimeRollChange(Augment):
    """Turns time around by up to `most` of its length; what leaves at one end enters at the other."""

    def __init__(self, most: float) -> None:
        self.most = most

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        length = images.shape[-2]
        by = (draw.uniform(low=-self.most, high=self.most) * length).round().long()
        source = (torch.arange(length, device=images.device) - by[:, None]) % length
        return images.gather(-2, source[:, None, :, None].expand_as(images))


@final
class GainChange(Augment):
    """Adds up to `decibels` of energy everywhere, or takes it away; padding, too."""

    def __init__(self, decibels: float, span: float) -> None:
        """`span`: log energies between the values 0 and 1."""
        self.most = decibels_to_log(decibels) / span

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        by = draw.uniform(low=-self.most, high=self.most)
        return (images + by[:, None, None, None]).clamp(0, 1)
