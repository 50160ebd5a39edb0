"""The sources of objects of Python: datasets and lists item by item, tensors and arrays as a whole."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from sslkit.interfaces import PixelRange, Source, resolve_range, to_pixels
from sslkit.plugin import DataError, Range, SslkitWarning
from sslkit_sources.dataset_labels import Labeled, cheap_labels, class_names, labeled, read_labels
from sslkit_sources.item_images import Keys, Lazy, Pixels, label_of, raw_pixels
from sslkit_sources.python_datasets import Rows, as_dataset, sampled
from sslkit_sources.resident_source import ResidentSource
from sslkit_sources.seeded_items import item_of, pixels_of, places, random_note

NORMALIZED = (
    ". A `Normalize` in a dataset's transform often makes such floats: leave it out, as views normalize"
)


class How(NamedTuple):
    """How the items of a dataset are read."""

    keys: Keys
    classes: tuple[str, ...] = ()
    """Names of the classes, where the spec has them."""
    range: Range = "auto"


@final
class ItemSource(Source):
    """Images of a dataset, read one by one."""

    def __init__(self, dataset: Lazy, how: How, title: str) -> None:
        """Look at some items. Raises DataError where they are no images, or their range is not plain."""
        self.dataset, self.how, self.title = dataset, how, title
        samples = [pixels_of(dataset, index, how.keys) for index in places(len(dataset))]
        self.channels = len(samples[0])
        self.pixel_range = _range_of(how.range, samples)
        if note := random_note(dataset, how.keys):
            warnings.warn(f"{title}: {note}", SslkitWarning, stacklevel=2)

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> Tensor:
        raw = pixels_of(self.dataset, index, self.how.keys, self.channels)
        if len(raw) != self.channels:
            raise DataError(f"item {index}: has {len(raw)} channels, where the first has {self.channels}")
        return to_pixels(np.ascontiguousarray(raw), self.pixel_range)

    @cached_property
    def labels(self) -> Tensor | None:  # type: ignore[override]
        """Read with the images where the dataset has them nowhere else."""
        return self._labeled.numbers

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the labels."""
        return self._labeled.classes

    @cached_property
    def _labeled(self) -> Labeled:
        keys = self.how.keys
        labels = cheap_labels(self.dataset, keys)
        if labels is None and item_of(self.dataset, 0, keys)[1] is not None:
            warnings.warn(
                f"{self.title}: every item is read once for its label; a list `targets` of the dataset would spare it",
                SslkitWarning,
                stacklevel=2,
            )
            labels = read_labels(self.dataset, keys)
        return labeled(labels or (), self.how.classes or class_names(self.dataset, keys))

    @cached_property
    def fingerprint(self) -> str:
        """Of some items from the first to the last, and all labels where they are at hand."""
        return "sampled:" + sampled(self.dataset, tuple(self.how.keys), str(self.how.range), self.how.classes)

    def name(self, index: int) -> str:
        """The dataset's type and the item."""
        return f"{self.title} {index}"


def source_of_object(data: object, how: How, rows: Sequence[int] | None = None) -> Source:
    """The images of `data`: of a tensor or array in memory as they are, of anything else read one by one.

    Args:
        data: as `as_dataset` takes it.
        how: how items are read.
        rows: the items to take; all by default.

    Raises:
        DataError: there are no images in it.
        SpecError: it is no set of images.
    """
    images, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    title = f"{type(images).__name__} item"
    if isinstance(images, torch.Tensor | np.ndarray):
        return _resident(images, as_dataset(data), labels, how, rows, title)
    dataset = as_dataset(data)
    return ItemSource(dataset if rows is None else Rows(dataset, rows), how, title)


def _resident(
    images: object,
    dataset: Lazy,
    labels: Sequence[object] | None,
    how: How,
    rows: Sequence[int] | None,
    title: str,
) -> ResidentSource:
    """All images of one tensor or array."""
    indices = range(len(dataset)) if rows is None else rows
    raw = [raw_pixels(images[i]) for i in indices]  # type: ignore[index]  # it is a tensor or array
    pixel_range = _range_of(how.range, [raw[i] for i in places(len(raw))])
    whole = torch.stack([to_pixels(np.ascontiguousarray(image), pixel_range) for image in raw])
    if labels is None:
        return ResidentSource(whole, None, (), title)
    numbers = labeled([label_of(labels[i]) for i in indices], how.classes)
    return ResidentSource(whole, numbers.numbers, numbers.classes, title)


def _range_of(setting: Range, samples: Sequence[Pixels]) -> PixelRange | None:
    try:
        return resolve_range(setting, samples, "data.range")
    except DataError as error:
        floats = any(sample.dtype.kind == "f" and sample.min() < 0 for sample in samples)
        raise DataError(f"{error}{NORMALIZED if floats else ''}") from None
