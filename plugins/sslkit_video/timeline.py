"""When the frames of a video are shown, and which of them clips have. N frames. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NEAR = 1e-6
"""Steps by which a frame may be late and still be that of its moment: time stamps are rounded."""


class Timeline(NamedTuple):
    """The frames of a video in the order in which they are shown."""

    times: Sequence[int] | NDArray[np.int64]
    """`[N]` time stamps, ascending; a `range` where steps are equal, which takes no memory."""
    unit: Fraction | None = None
    """Seconds of a step of `times`. None: frames have no time stamps, and are counted from 0."""
    missing: int = 0
    """Frames that the file tells of, and that are not there."""

    @classmethod
    def of(cls, stamps: Sequence[int], unit: Fraction, missing: int = 0) -> Timeline:
        """Of the frames that have these `stamps`, in any order."""
        times = np.unique(np.asarray(stamps, dtype=np.int64))
        steps = np.unique(np.diff(times))
        if len(steps) > 1:
            return cls(times, unit, missing)
        step = int(steps[0]) if len(steps) else 1
        return cls(range(int(times[0]), int(times[0]) + step * len(times), step), unit, missing)

    def resampled(self, rate: float | None) -> Sequence[int] | NDArray[np.int64]:
        """Numbers of the frames that are shown at `rate` moments a second, from the first on; all without a rate.

        A frame is shown until the next one is, so slow parts of a recording of varying rate repeat theirs.
        """
        if rate is None or self.unit is None or not len(self.times):
            return range(len(self.times))
        step = 1 / (rate * float(self.unit))  # in units of time stamps
        times = np.asarray(self.times, dtype=np.float64)
        moments = math.floor((times[-1] - times[0]) / step + NEAR) + 1
        at = times[0] + np.arange(moments) * step
        return np.asarray(np.searchsorted(times, at + step * NEAR, side="right") - 1, dtype=np.int64)


def clips_of(frames: int, length: int | None, every: int | None) -> Iterator[tuple[int, int]]:
    """(first, count) of the clips of a video of so many `frames`; a shorter video is one clip, as it is.

    Args:
        frames: of the video.
        length: frames of a clip. None: the whole video is one.
        every: frames from the first one of a clip to that of the next. Default: `length`, so that no frame is in two.
            The last clip ends with the video, and begins earlier for it.
    """
    if length is None or frames <= length:
        yield 0, frames
        return
    for first in range(0, frames - length, every or length):
        yield first, length
    yield frames - length, length
