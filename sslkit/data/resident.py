"""All samples of a source in memory, decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sslkit.core.source import Source, pixels
from sslkit.core.view import IMAGE, View
from sslkit.data.crops import Samples
from sslkit.data.decoding_workers import Loading, as_it_is, batches
from sslkit.data.unreadable import Reasons, Unreadable, readable_sample

AT_ONCE = 64
"""Samples that a worker decodes at a time."""


def resident(
    source: Source, budget: int, device: torch.device, workers: int, unreadable: Unreadable
) -> Tensor | None:
    """All images of `source`, `[N, C, H, W]`, as `resident_streams` has them where there is no other stream.

    Args:
        source: The images.
        budget: Bytes.
        device: Where they would be kept.
        workers: Processes that decode; 0 decodes in this one.
        unreadable: Is told of images that cannot be read, if all others are returned.

    Raises:
        DataError: no image can be read, or what the source holds are no images of a type that sources may give.
    """
    images = View(1, 1, source.channels, (), ())
    held = resident_streams(source, {IMAGE: images}, budget, device, workers, unreadable)
    return None if held is None else torch.as_tensor(held[IMAGE])


def resident_streams(
    source: Source,
    views: Mapping[str, View],
    budget: int,
    device: torch.device,
    workers: int,
    unreadable: Unreadable,
) -> Mapping[str, Samples] | None:
    """All samples of `source`, of each stream that `views` read, if they fit in `budget` bytes.

    Those of a stream are one tensor `[N, C, *axes]`; where a transform makes the crops of it they may be of several
    sizes, and then are a list. Otherwise they must be of one size and type.

    What the source holds in memory already costs nothing more on a CPU, so the budget does not count there.
    Otherwise `workers` processes decode the samples, until one of another size or type shows up. In place of a sample
    that cannot be read stands the next one that can, as in `WorkerFeed`.

    Raises:
        DataError: no sample can be read, or what the source holds is not of a type that sources may give.
    """
    axes = {view.stream: view.axes for view in views.values()}
    held = {stream: source.held(stream) for stream in axes}
    in_memory = {stream: samples for stream, samples in held.items() if samples is not None}
    if len(in_memory) == len(axes):
        everything = {s: checked(x, source.channels_of(s), axes[s]) for s, x in in_memory.items()}
        size = sum(_bytes(samples) for samples in everything.values())
        return everything if device.type == "cpu" or size <= budget else None
    fixed = {view.stream for view in views.values() if view.transform is None}
    if budget <= 0 or (fixed and len(source.sizes or "?") > 1):
        return None
    first = readable_sample(source, 0, axes)[0]
    if len(source) * sum(x.nbytes for x in first.values()) > budget:
        return None
    form = {stream: (first[stream].shape, first[stream].dtype) for stream in fixed}
    whole = {s: torch.empty(len(source), *shape, dtype=dtype) for s, (shape, dtype) in form.items()}
    loose: dict[str, list[Tensor]] = {stream: [] for stream in axes if stream not in fixed}
    skipped = list[tuple[int, str]]()
    for start, part in enumerate(_decoded(source, axes, form, workers)):
        if part is None:
            return None
        for stream, samples in part.whole.items():
            whole[stream][start * AT_ONCE :][: len(samples)] = samples
        for stream, arrays in part.loose.items():
            loose[stream] += map(torch.from_numpy, arrays)
        skipped += part.reasons
    for index, reason in skipped:
        unreadable(index, reason)
    return whole | loose


def checked(samples: Samples, channels: int, axes: int) -> Samples:
    """`samples`, where they are what a source may give."""
    if isinstance(samples, Tensor):
        return pixels(samples, channels, axes)
    return [pixels(sample, channels, axes) for sample in samples]


def _bytes(samples: Samples) -> int:
    return samples.nbytes if isinstance(samples, Tensor) else sum(sample.nbytes for sample in samples)


Form = Mapping[str, tuple[torch.Size, torch.dtype]]
"""Shape and type of every sample of the streams that have one."""


class _Part(NamedTuple):
    """Some samples in order, by stream."""

    whole: dict[str, Tensor]
    """Those of one shape and type."""
    loose: dict[str, list[NDArray[np.generic]]]
    """All others. Arrays, as each tensor would take a file handle between processes."""
    reasons: Reasons


def _decoded(source: Source, axes: Mapping[str, int], form: Form, workers: int) -> Iterator[_Part | None]:
    """The samples in order, in batches; None for a batch with one of another shape or type than `form` says."""
    plan = [list(range(i, min(i + AT_ONCE, len(source)))) for i in range(0, len(source), AT_ONCE)]
    return batches(_Decoder(source, axes, form), plan, as_it_is, Loading(workers, "resident"))


@final
class _Decoder(Dataset[_Part | None]):
    """Decoded samples, many at a time."""

    def __init__(self, source: Source, axes: Mapping[str, int], form: Form) -> None:
        self.source, self.axes, self.form = source, axes, form

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: list[int]) -> _Part | None:
        decoded = [readable_sample(self.source, index, self.axes) for index in indices]
        reasons = [reason for _, some in decoded for reason in some]
        samples = {stream: [sample[stream] for sample, _ in decoded] for stream in self.axes}
        if not all((x.shape, x.dtype) == form for s, form in self.form.items() for x in samples[s]):
            return None
        whole = {stream: torch.stack(samples[stream]) for stream in self.form}
        loose = {s: [x.numpy() for x in some] for s, some in samples.items() if s not in self.form}
        return _Part(whole, loose, reasons)
