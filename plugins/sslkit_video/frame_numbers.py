"""Which frames of a video a clip has. B videos, T frames of a clip."""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE = 1e-4
"""Below a whole number by less than this is that number, as it mostly is in the reference's float32."""


def strided(start: Tensor, lengths: Tensor, frames: int, stride: int) -> Tensor:
    """`[B, T]`: every `stride`-th frame from `start`; a frame past the end is the last one before it, again.

    VideoMAE's rule (`kinetics.py:515-556`): the place stops moving where the next step would pass the end. It counts
    from 1 there and from 0 elsewhere, so that its steps never reach the last frame; here they do.
    """
    numbers = start[:, None] + torch.arange(frames) * stride
    last = start + (lengths - 1 - start).clamp(min=0) // stride * stride
    return numbers.minimum(last[:, None]).clamp(min=0)


def spanned(start: Tensor, span: float, lengths: Tensor, frames: int) -> Tensor:
    """`[B, T]`: equal real steps from `start` over `span` frames, rounded down (SlowFast `decoder.py:17-76`).

    The steps are (span - 1) / (T - 1): 4.2 for 16 frames of 64, not 4. What lies past the end is the last frame.
    """
    steps = torch.arange(frames, dtype=torch.float64) * ((span - 1) / max(frames - 1, 1))
    places = start.double()[:, None] + steps + WHOLE
    return places.clamp(min=0).minimum(lengths.double()[:, None] - 1).long()


def segmented(places: Tensor, lengths: Tensor) -> Tensor:
    """`[B, T]`: the frame at `places` `[B, T]` in [0, 1) of each of T equal parts (TSN)."""
    frames = places.shape[1]
    return (
        ((torch.arange(frames) + places) * (lengths[:, None] / frames)).long().minimum(lengths[:, None] - 1)
    )


def by_motion(change: Tensor, frames: int) -> Tensor:
    """`[T]`: frames of a part of a video at equal shares of what changes in it, the first and the last among them.

    Args:
        change: `[L - 1]`, how much frame i + 1 differs from frame i. A tenth of the mean is added everywhere, so that
            still parts have frames as well; where nothing changes, steps are equal.
        frames: T.
    """
    change = change.double() + change.double().mean() / 10 + 1e-9
    passed = torch.cat([change.new_zeros(1), change.cumsum(0)])
    wanted = torch.linspace(0, 1, frames, dtype=torch.float64) * passed[-1]
    return torch.searchsorted(passed, wanted - 1e-12).clamp(max=len(passed) - 1)


def paired_starts(shares: Tensor, rooms: Tensor, power: float) -> Tensor:
    """`[B, 2]` int64: the first frames of two clips, whose distance k has a density of (1 - k / M) ** `power`.

    CVRL's, with power 1 (`video_ssl_preprocess_ops.py`): k is drawn, then the earlier start, uniform in [0, M - k),
    then which clip is the earlier one.

    Args:
        shares: `[B, 3]` in [0, 1): of the distance, the start and the order.
        rooms: `[B]`, M: as many starts fit; at least 1.
        power: 0 for equal chances of all distances.
    """
    distance = rooms * (1 - (1 - shares[:, 0].double()) ** (1 / (power + 1)))
    distance = distance.long().minimum(rooms - 1)
    room = rooms - distance
    first = (shares[:, 1].double() * room).long().minimum(room - 1)
    pair = torch.stack([first, first + distance], dim=1)
    return torch.where(shares[:, 2:] < 0.5, pair, pair.flip(1))


def random_start(share: Tensor, lengths: Tensor, span: int) -> Tensor:
    """`[B]` int64: the first frame of a part of `span` frames, uniform over those that fit, 0 where none does."""
    room = (lengths - span).clamp(min=0)
    return (share * (room + 1)).long().minimum(room)
