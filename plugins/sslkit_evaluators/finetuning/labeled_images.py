"""Labeled, augmented training batches for fine-tuning."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import (
    BatchShare,
    Feed,
    Loading,
    Order,
    Pipeline,
    ResidentFeed,
    Source,
    Subject,
    WorkerFeed,
    exact_device,
    on_device,
    resident,
)
from sslkit.plugin import DataError, ViewSpec, WorkerError

HELD = 2 << 30
"""Bytes of images that are kept on the training device, as a run's `resident`."""
VIEW = "train"


@final
class Chosen(Source):
    """Some images of another source."""

    def __init__(self, source: Source, indices: Tensor) -> None:
        self.source, self.indices = source, indices.cpu()
        self.channels, self.classes, self.sizes = source.channels, source.classes, source.sizes
        assert source.labels is not None, "evaluators of labeled images are given no others"
        self.labels: Tensor = source.labels[self.indices]

    @cached_property
    def fingerprint(self) -> str:
        """Of the other source and the choice."""
        choice = hashlib.sha256(self.indices.numpy().tobytes()).hexdigest()
        return f"{self.source.fingerprint} {choice}"

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, index: int) -> Tensor:
        return self.source.load(int(self.indices[index]))

    def name(self, index: int) -> str:
        """As the other source calls it."""
        return self.source.name(int(self.indices[index]))

    def resident(self) -> Tensor | None:
        """`[N, C, H, W]` uint8, where the other source has them all."""
        held = self.source.resident()
        if held is None or len(held) == len(self.indices):
            return held
        return held[self.indices]


@final
class Images:
    """Batches of augmented images with their labels, from the project's own feed.

    Every rank draws all images alike: the training is not shared.
    """

    def __init__(
        self, subject: Subject, crops: ViewSpec, batch: int, accumulate: int, device: torch.device
    ) -> None:
        """`batch`: images of a step, at most; cut to what there is, and to even parts.

        Raises:
            DataError: there are too few readable images.
        """
        readable = subject.rows("train", lambda images, _: images.new_zeros(len(images), 1)).indices
        self.source = Chosen(subject.source("train"), readable)
        unit = 2 * accumulate
        size = min(batch, len(self.source)) // unit * unit
        if not size:
            raise DataError(too_few(unit, len(self.source)))
        self._plan = (len(self.source), size, subject.seed, BatchShare(0, 1, size // accumulate))
        self.order = Order(*self._plan)
        self.labels = self.source.labels.to(device)
        views = {VIEW: subject.view._replace(crops=1)}
        specs = {VIEW: crops.model_copy(update={"size": subject.view.size})}
        self._pipeline = Pipeline(specs, views, subject.seed, in_workers=exact_device(device).type == "cpu")
        self._device, self._workers = device, subject.workers

    def feed(self, steps: int) -> Feed:
        """The supply of `steps` steps."""
        exact = exact_device(self._device)
        held = resident(self.source, HELD, exact, self._workers, self._lost)
        if held is not None:
            return on_device(ResidentFeed(held, self.order, self._pipeline, exact), self._device)
        feed = WorkerFeed(
            self.source, Order(*self._plan), self._pipeline, exact,
            start=0, stop=steps, how=Loading(self._workers, "batch_size"), unreadable=self._lost,
        )  # fmt: skip
        return on_device(feed, self._device)

    def step(self, step: int, feed: Feed) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalized images `[B, C, S, S]` and labels `[B]` of each part of `step`; steps come in order.

        Raises:
            WorkerError: worker processes died.
        """
        for batch, (indices, _) in zip(feed.step(step), self.order.micro_batches(step), strict=True):
            yield batch.images[VIEW][0], self.labels[indices.to(self._device)]
        if feed.failure is not None:
            raise WorkerError(feed.failure)

    def _lost(self, index: int, reason: str) -> None:
        raise DataError(f"an image could be read a moment ago and no longer can: {reason}")


def too_few(needed: int, images: int) -> str:
    """What is wrong with fewer images than a batch takes."""
    return f"fine-tuning needs at least {needed} readable images, found {images}"
