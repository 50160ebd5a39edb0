"""Hugging Face data sets for tests, of images that tell which they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.plugins.shards.tars import png

datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")

CLASSES = ["ant", "bee", "cow", "dog"]


def dataset_of(images: Sequence[bytes | None], labels: Sequence[int] | None = None, **columns):
    """Rows of image files and labels of four classes."""
    labels = [i % 4 for i in range(len(images))] if labels is None else labels
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    cells = [None if one is None else {"bytes": one, "path": None} for one in images]
    dataset = datasets.Dataset.from_dict({"image": cells, "label": list(labels)}, features=features)
    for name, values in columns.items():
        dataset = dataset.add_column(name, values)
    return dataset


def save(folder: Path, count: int, sizes: Sequence[int] = ()) -> Path:
    """A folder of `count` pictures, in an Arrow file of each of `sizes` or in one."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))] or [count]
    parts = [range(first, end) for first, end in zip([0, *ends[:-1]], ends, strict=True)]
    paths = [folder.parent / f"{folder.name}-part{i}" for i in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        dataset_of([png(i) for i in part], [i % 4 for i in part]).save_to_disk(str(path))
    whole = datasets.concatenate_datasets([datasets.load_from_disk(str(path)) for path in paths])
    whole.save_to_disk(str(folder), num_shards=len(parts))
    return folder
