"""Frames and clips of videos at given times, as the network reads them. T frames of a clip."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.functional.pixel_normalization import normalized
from sslkit.interfaces import Subject, seeds, to_float
from sslkit.plugin import DataError
from sslkit_video.clips import Clips


def frames_needed(subject: Subject) -> int:
    """Frames of a video that a clip takes. Raises DataError where the network reads no clips of videos."""
    transform = subject.view.transform
    if not isinstance(transform, Clips):
        raise DataError("this evaluator reads videos; give the readout's view the transform `frames`")
    return transform.how.stride * transform.frames


def clips_at(subject: Subject, video: Tensor, times: int, *, still: bool) -> Tensor:
    """`[times, C, T, H, W]`, normalized: what begins at frames 0 to `times` - 1 of `video` `[C, L, H, W]`.

    `still`: each frame alone, repeated to a clip.
    """
    transform, view = subject.view.transform, subject.view
    span = frames_needed(subject)
    assert transform is not None, "checked above"
    parts = [
        video[:, t : t + 1].expand(-1, span, -1, -1) if still else video[:, t : t + span]
        for t in range(times)
    ]
    clips = transform.fixed(parts, seeds.draw(0, "fixed", rows=torch.zeros(times).long()))
    return normalized(to_float(clips), view.mean, view.std, len(view.sides))
