"""Opening data sets of the package `datasets`: from a folder, or from the Hugging Face hub."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from sslkit.interfaces import state_of
from sslkit.plugin import DataError, reason_of

SAVED = ("state.json", "dataset_dict.json")
"""What `save_to_disk` writes into the folder of a data set, or of several splits."""


class Place(NamedTuple):
    """Where a split is."""

    path: str
    """A folder, or a name on the hub."""
    split: str
    config: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        config = f" ({self.config})" if self.config else ""
        return f"{self.path}{config} {self.split}"


def open_split(place: Place) -> Dataset:
    """The rows of a split, memory-mapped; files of a builder are written once into the cache of `datasets`.

    Raises:
        DataError: there is no such data set or split, or it cannot be read.
    """
    folder = Path(place.path).expanduser()
    try:
        if any((folder / name).is_file() for name in SAVED):
            opened = _saved(folder, place)
        else:
            path = str(folder) if folder.exists() else place.path
            opened = datasets.load_dataset(
                path, place.config, split=place.split, revision=place.revision, keep_in_memory=False
            )
    except DataError:
        raise
    except Exception as error:  # builders, the hub and Arrow raise what they like
        raise DataError(f"{place}: `datasets` cannot open it: {reason_of(error)}") from error
    if not len(opened):
        raise DataError(f"{place}: holds no rows; expected an image in each")
    return opened


def _saved(folder: Path, place: Place) -> Dataset:
    if place.config or place.revision:
        raise DataError(
            f"{place}: was written by `save_to_disk`, which keeps one `config` and `revision`; leave both out"
        )
    saved = datasets.load_from_disk(str(folder), keep_in_memory=False)
    if not hasattr(saved, "keys"):
        if place.split != "train":
            raise DataError(f"{folder}: holds one split, named `train` here; {place.split!r} is not in it")
        return saved
    if place.split not in saved:
        raise DataError(f"{folder}: has no split {place.split!r}; it has {', '.join(map(str, saved))}")
    return saved[place.split]


def files_of(dataset: Dataset) -> list[Path]:
    """Arrow files that the rows lie in; none where they lie in memory."""
    return [Path(file["filename"]) for file in dataset.cache_files]


def common_state(files: list[Path]) -> NDArray[np.int64]:
    """`[1, 4]` as `state_of` gives it of one file: another one wherever any of the files changed."""
    states = np.concatenate([state_of(path) for path in files])
    mark = int.from_bytes(hashlib.sha256(np.ascontiguousarray(states).data).digest()[:7], "big")
    size = -1 if (states[:, 0] < 0).any() else int(states[:, 0].sum())
    return np.array([[size, mark, int(states[:, 2].max()), 0]], dtype=np.int64)
