"""All images of a source in memory, decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sslkit.core.source import Source, pixels
from sslkit.data.decoding_workers import Loading, as_it_is, batches
from sslkit.data.unreadable import Reasons, Unreadable, readable

AT_ONCE = 64
"""Images that a worker decodes at a time."""


def resident(
    source: Source, budget: int, device: torch.device, workers: int, unreadable: Unreadable
) -> Tensor | None:
    """All images of `source`, `[N, C, H, W]`, if they are of one size and type and fit in `budget` bytes.

    What the source holds in memory already costs nothing more on a CPU, so the budget does not count there.
    Otherwise `workers` processes decode the images, until one of another size or type shows up. In place of an image
    that cannot be read stands the next one that can, as in `WorkerFeed`.

    Args:
        source: The images.
        budget: Bytes.
        device: Where they would be kept.
        workers: Processes that decode; 0 decodes in this one.
        unreadable: Is told of images that cannot be read, if all others are returned.

    Raises:
        DataError: no image can be read, or what the source holds are no images of a type that sources may give.
    """
    held = source.resident()
    if held is not None:
        held = pixels(held, source.channels)
        return held if device.type == "cpu" or held.nbytes <= budget else None
    if budget <= 0 or len(source.sizes or "?") > 1:
        return None
    first = readable(source, 0)[0]
    if len(source) * first.nbytes > budget:
        return None
    images, skipped = torch.empty(len(source), *first.shape, dtype=first.dtype), list[tuple[int, str]]()
    for start, (part, reasons) in zip(
        range(0, len(source), AT_ONCE), _decoded(source, first, workers), strict=False
    ):
        if part is None:
            return None
        images[start : start + len(part)] = part
        skipped += reasons
    for index, reason in skipped:
        unreadable(index, reason)
    return images


def _decoded(source: Source, first: Tensor, workers: int) -> Iterator[tuple[Tensor | None, Reasons]]:
    """The images in order, in batches; None for a batch with an image of another shape or type than `first`."""
    plan = [list(range(i, min(i + AT_ONCE, len(source)))) for i in range(0, len(source), AT_ONCE)]
    return batches(_Decoder(source, (first.shape, first.dtype)), plan, as_it_is, Loading(workers, "resident"))


@final
class _Decoder(Dataset[tuple[Tensor | None, Reasons]]):
    """Decoded images, many at a time."""

    def __init__(self, source: Source, form: tuple[torch.Size, torch.dtype]) -> None:
        self.source, self.form = source, form

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor | None, Reasons]:
        decoded = [readable(self.source, index) for index in indices]
        reasons = [reason for _, some in decoded for reason in some]
        images = [image for image, _ in decoded]
        alike = all((x.shape, x.dtype) == self.form for x in images)
        return (torch.stack(images) if alike else None), reasons
