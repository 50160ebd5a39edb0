"""Choice of the batch feed: images resident on the training device, or worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar, final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sslkit.core.source import Source, pixels
from sslkit.spec.parts import byte_count
from sslkit.spec.run import RunSpec
from sslkit.train.compose import Composed
from sslkit.train.feed import Feed, Reasons, ResidentFeed, WorkerFeed, on_device, readable
from sslkit.train.line_file import Warn
from sslkit.train.mps import exact_device
from sslkit.train.pipeline import Pipeline
from sslkit.train.workers import Loading, batches

T = TypeVar("T")

AT_ONCE = 64
"""Images that a worker decodes at a time."""

Unreadable = Callable[[int, str], None]
"""Told the index of every image that cannot be read, and why."""


def supply(
    spec: RunSpec,
    composed: Composed,
    device: torch.device,
    start: int,
    unreadable: Unreadable,
    warn: Warn = lambda text: None,
) -> Feed:
    """The batches of `spec` from step `start` on.

    Images that fit in `spec.resident` and are of one size are held on `device`; others come from workers. Either
    gives the same batches. `warn` is told what befalls workers.

    Raises:
        DataError: no image can be read, or too many cannot.
        WorkerError: workers died while they decoded the images to be held.
    """
    source, order, views = composed.source, composed.order, composed.env.views
    exact = exact_device(device)
    images = resident(source, byte_count(spec.resident), exact, spec.workers, unreadable)
    if images is not None:
        return on_device(ResidentFeed(images, order, Pipeline(spec.views, views, spec.seed), exact), device)
    in_workers = augments_in_workers(spec, exact)
    how = Loading(spec.workers, batch_field(spec), warn)
    feed = WorkerFeed(
        source, order, Pipeline(spec.views, views, spec.seed, in_workers=in_workers), exact,
        start=start, stop=composed.length.steps, how=how, unreadable=unreadable,
    )  # fmt: skip
    return on_device(feed, device)


def batch_field(spec: RunSpec) -> str:
    """The field that sets how many images a worker hands over at a time."""
    return "batch_size" if spec.micro_batch_size is None else "micro_batch_size"


def augments_in_workers(spec: RunSpec, device: torch.device) -> bool:
    """Whether worker processes do all augmentations: by default where the training device is a CPU as well."""
    return spec.augment_on == "workers" or (spec.augment_on == "auto" and device.type == "cpu")


def resident(
    source: Source, budget: int, device: torch.device, workers: int, unreadable: Unreadable
) -> Tensor | None:
    """All images of `source`, `[N, C, H, W]` uint8, if they are of one size and fit in `budget` bytes.

    What the source holds in memory already costs nothing more on a CPU, so the budget does not count there.
    Otherwise `workers` processes decode the images, until one of another size shows up. In place of an image that
    cannot be read stands the next one that can, as in `WorkerFeed`.

    Args:
        source: The images.
        budget: Bytes.
        device: Where they would be kept.
        workers: Processes that decode; 0 decodes in this one.
        unreadable: Is told of images that cannot be read, if all others are returned.

    Raises:
        DataError: no image can be read, or what the source holds are no uint8 images.
    """
    held = source.resident()
    if held is not None:
        held = pixels(held, source.channels)
        return held if device.type == "cpu" or held.numel() <= budget else None
    if budget <= 0 or len(source.sizes or "?") > 1:
        return None
    shape = readable(source, 0)[0].shape
    if len(source) * shape.numel() > budget:
        return None
    images, skipped = torch.empty(len(source), *shape, dtype=torch.uint8), list[tuple[int, str]]()
    for start, (part, reasons) in zip(
        range(0, len(source), AT_ONCE), _decoded(source, shape, workers), strict=False
    ):
        if part is None:
            return None
        images[start : start + len(part)] = part
        skipped += reasons
    for index, reason in skipped:
        unreadable(index, reason)
    return images


def _decoded(source: Source, shape: torch.Size, workers: int) -> Iterator[tuple[Tensor | None, Reasons]]:
    """The images in order, in batches; None for a batch with an image of another shape."""
    plan = [list(range(i, min(i + AT_ONCE, len(source)))) for i in range(0, len(source), AT_ONCE)]
    return batches(_Decoder(source, shape), plan, _as_it_is, Loading(workers, "resident"))


@final
class _Decoder(Dataset[tuple[Tensor | None, Reasons]]):
    """Decoded images, many at a time."""

    def __init__(self, source: Source, shape: torch.Size) -> None:
        self.source, self.shape = source, shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor | None, Reasons]:
        decoded = [readable(self.source, index) for index in indices]
        reasons = [reason for _, some in decoded for reason in some]
        images = [image for image, _ in decoded]
        return (torch.stack(images) if all(x.shape == self.shape for x in images) else None), reasons


def _as_it_is(batch: T) -> T:
    return batch
