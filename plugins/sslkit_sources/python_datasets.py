"""Objects of Python as datasets: by index, with a digest that tells one from another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch
from PIL import Image

from sslkit.plugin import SpecError
from sslkit_sources.dataset_labels import column_of
from sslkit_sources.item_images import Keys, Lazy
from sslkit_sources.seeded_items import places, seeded

MOST_LABELS = 1_000_000
"""Labels past which only their number counts."""


@final
class Paired(Lazy):
    """Images and their labels, as pairs."""

    def __init__(self, images: Lazy, labels: Sequence[object]) -> None:
        """Raises SpecError where they are not as many."""
        if len(images) != len(labels):
            raise SpecError(
                f"there are {len(images):,} images and {len(labels):,} labels; give as many of both"
            )
        self.images, self.targets = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> object:
        return self.images[index], self.targets[index]


@final
class Rows(Lazy):
    """Some items of a dataset, as torch's `Subset`."""

    def __init__(self, dataset: Lazy, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> object:
        return self.dataset[self.indices[index]]


def as_dataset(data: object) -> Lazy:
    """`data` by index: a map-style dataset, a list, a tensor or array, or a pair of images and labels.

    Raises:
        SpecError: it cannot be read by index, or has no items.
    """
    if isinstance(data, tuple) and len(data) == 2:
        return Paired(as_dataset(data[0]), data[1])
    loader = getattr(data, "dataset", None) is not None and hasattr(data, "batch_sampler")
    if (
        loader
        or isinstance(data, str | bytes | dict)
        or not isinstance(data, Lazy)
        or isinstance(data, tuple)
    ):
        instead = (
            "its `dataset`, as the run makes the batches"
            if loader
            else (
                "a dataset with `__len__` and `__getitem__`, a tensor or array of images, a list of them, or a pair of "
                "images and labels"
            )
        )
        raise SpecError(f"a {type(data).__name__} is no set of images by index; give {instead}")
    try:
        count = len(data)
    except TypeError:
        raise SpecError(
            f"a {type(data).__name__} does not say how many items it has; give one that does"
        ) from None
    if not count:
        raise SpecError(f"a {type(data).__name__} has no items")
    return data


def described(data: object) -> dict[str, str | int]:
    """What a file tells of `data`: its type, how many images, and a digest.

    Raises:
        SpecError: it is no set of images.
    """
    dataset = as_dataset(data)
    images = data[0] if isinstance(data, tuple) else data
    return {"python": type(images).__name__, "images": len(dataset), "digest": sampled(dataset)}


def sampled(dataset: Lazy, *settings: object) -> str:
    """A digest of some items from the first to the last, and of all labels where they are at hand."""
    whole = hashlib.sha256(repr((len(dataset), settings)).encode())
    for index in places(len(dataset)):
        try:
            with seeded(index):
                item = dataset[index]
        except Exception as error:  # which `load` tells when it is its turn
            item = type(error).__name__
        _add(whole, item)
    if len(dataset) <= MOST_LABELS:
        _add(whole, column_of(dataset, Keys()))
    return whole.hexdigest()[:32]


def _add(whole: hashlib._Hash, value: object) -> None:
    """Take `value` into the digest: pixels, numbers and words, whatever they are in."""
    match value:
        case torch.Tensor():
            _add(
                whole,
                value.detach().cpu().contiguous().view(torch.uint8).numpy() if value.ndim else value.item(),
            )
            whole.update(repr((value.dtype, value.shape)).encode())
        case np.ndarray():
            whole.update(repr((value.dtype, value.shape)).encode())
            whole.update(
                np.ascontiguousarray(value).data if value.dtype.kind in "biuf" else repr(value).encode()
            )
        case Image.Image():
            whole.update(repr((value.mode, value.size)).encode() + value.tobytes())
        case Mapping():
            for key in sorted(map(str, value)):
                whole.update(key.encode())
            for part in value.values():
                _add(whole, part)
        case tuple() | list():
            whole.update(f"{len(value)}".encode())
            for part in value:
                _add(whole, part)
        case np.generic():
            _add(whole, value.item())
        case bool() | int() | float() | str() | None:
            whole.update(repr(value).encode() + b"\0")
        case _:
            whole.update(type(value).__qualname__.encode())
