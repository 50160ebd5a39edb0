"""Labels of a whole dataset, where it has them in one place, so that no image is read for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from sslkit.plugin import DataError
from sslkit_sources.item_images import LABEL_KEYS, Keys, Lazy, label_of
from sslkit_sources.seeded_items import item_of

Labels = Sequence[object]
COLUMNS = ("targets", "labels")
"""Attributes of datasets (torchvision, MedMNIST) that may have the labels of all items."""


@runtime_checkable
class Columned(Protocol):
    """Datasets of Hugging Face give a column by its name."""

    def __getitem__(self, name: str | int, /) -> Iterable[object]: ...


class Labeled(NamedTuple):
    """Labels as a source has them."""

    numbers: Tensor | None
    """`[N]` int64."""
    classes: tuple[str, ...]


def column_of(dataset: object, keys: Keys) -> Labels | None:
    """What `dataset` says of the labels of all its items, without reading images; None where it does not."""
    inner, indices, parts = (getattr(dataset, name, None) for name in ("dataset", "indices", "datasets"))
    if inner is not None and indices is not None:  # torch's Subset
        column = column_of(inner, keys)
        return None if column is None else [column[int(i)] for i in indices]
    if isinstance(parts, list | tuple):  # torch's ConcatDataset
        columns = [column_of(part, keys) for part in parts]
        return (
            None
            if any(c is None for c in columns)
            else [label for c in columns if c is not None for label in c]
        )
    tensors = getattr(dataset, "tensors", None)
    if isinstance(tensors, tuple) and len(tensors) > 1 and keys == Keys():  # torch's TensorDataset
        return list(tensors[1])
    names: Sequence[str] = getattr(dataset, "column_names", None) or ()
    name = keys.label if keys.label is not None else next((key for key in LABEL_KEYS if key in names), None)
    if name is not None and name in names and isinstance(dataset, Columned):
        return list(dataset[name])
    return next(
        (list(c) for attribute in COLUMNS if (c := getattr(dataset, attribute, None)) is not None), None
    )


def cheap_labels(dataset: Lazy, keys: Keys) -> list[int | str | None] | None:
    """The labels of all items, where the dataset has them in one place and they are those of its items."""
    column = column_of(dataset, keys)
    if column is None or len(column) != len(dataset):
        return None
    labels = [label_of(value) for value in column]
    ends = {0, len(dataset) - 1}
    return labels if all(label_of(item_of(dataset, i, keys)[1]) == labels[i] for i in ends) else None


def read_labels(dataset: Lazy, keys: Keys) -> list[int | str | None]:
    """The labels of all items, by reading each; None for items that cannot be read."""
    labels: list[int | str | None] = []
    for index in range(len(dataset)):
        try:
            labels.append(label_of(item_of(dataset, index, keys)[1]))
        except DataError:
            labels.append(None)
    return labels


def class_names(dataset: object, keys: Keys) -> tuple[str, ...]:
    """What `dataset` calls its classes; empty where it does not say."""
    features = getattr(dataset, "features", None)
    if features is not None:  # Hugging Face datasets
        name = keys.label if keys.label is not None else next((k for k in LABEL_KEYS if k in features), None)
        return tuple(map(str, getattr(features.get(name), "names", None) or ()))
    inner = getattr(dataset, "dataset", None)
    classes = getattr(dataset, "classes", None)
    if classes is None and inner is not None:
        return class_names(inner, keys)
    return tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()


def labeled(labels: Sequence[int | str | None], names: tuple[str, ...]) -> Labeled:
    """Numbers and names of labels, of which words count in the order of the alphabet, or of `names`.

    Raises:
        DataError: a number is below 0 or has no name, or a word is not among `names`.
    """
    if not labels or any(label is None for label in labels):
        return Labeled(None, ())
    if any(isinstance(label, str) for label in labels):
        words = list(map(str, labels))
        classes = names or tuple(sorted(set(words)))
        places_of = {name: place for place, name in enumerate(classes)}
        strange = next((word for word in words if word not in places_of), None)
        if strange is not None:
            raise DataError(f"label {strange!r} is not among `classes`: {', '.join(classes)}")
        return Labeled(torch.tensor([places_of[word] for word in words]), classes)
    numbers = np.array(labels, dtype=np.int64)
    if numbers.min() < 0:
        raise DataError(f"a label is {numbers.min()}; expected whole numbers from 0, or words")
    if names and numbers.max() >= len(names):
        raise DataError(f"a label is {numbers.max()}, and there are {len(names)} `classes`, counted from 0")
    return Labeled(torch.from_numpy(numbers), names or tuple(map(str, range(int(numbers.max()) + 1))))
