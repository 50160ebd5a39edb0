"""HDF5 through h5py: the images of one data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from sslkit.plugin import DataError, require_regular
from sslkit_science.arrays import labeled_planes
from sslkit_science.layout import Layout, Window, layout_of
from sslkit_science.libraries import library
from sslkit_science.reader import Handles, Pixels, Plane, Reader, decoding, require_numbers

if TYPE_CHECKING:
    from h5py import Dataset, File


@final
class HDF5Reader(Reader):
    """Reads the parts of a data set that are asked for; no other file is opened, whatever a file names."""

    def __init__(self, dataset: str | None, axes: str | None, labels: str | None) -> None:
        library("h5py")
        self.dataset, self.axes, self.labels = dataset, axes, labels
        self.settings = (dataset, axes, labels)
        self._open = Handles(open_hdf5)

    def planes(self, path: Path) -> list[Plane]:
        with decoding(path):
            file = open_hdf5(path)
            try:
                layout = self._layout(self._images(file, path), path)
                labels = None if self.labels is None else _labels(_dataset(file, self.labels, path, "labels"))
                return labeled_planes(layout, labels, str(path))
            finally:
                file.close()

    def read(self, path: Path, plane: Plane, window: Window) -> Pixels:
        with decoding(path, plane.name):
            dataset = self._images(self._open[path], path)
            layout = self._layout(dataset, path)
            return layout.arranged(dataset[layout.selection(plane.place[0], window)])

    def _layout(self, dataset: Dataset, path: Path) -> Layout:
        require_numbers(dataset.dtype, f"{path} {dataset.name}")
        return layout_of(dataset.shape, self.axes, f"{path} {dataset.name}")

    def _images(self, file: File, path: Path) -> Dataset:
        if self.dataset is not None:
            return _dataset(file, self.dataset, path, "dataset")
        names = [name for name in dataset_names(file) if len(file[name].shape) > 1 and name != self.labels]
        if len(names) != 1:
            raise DataError(
                f"{path}: holds the data sets {', '.join(names[:8])}; name one with the field `dataset`"
            )
        return _dataset(file, names[0], path, "dataset")


def open_hdf5(path: Path) -> File:
    """The file, its header read."""
    require_regular(path)
    return library("h5py").File(path, "r")


def dataset_names(file: File) -> list[str]:
    """Data sets that lie in the file itself: links to others are not followed."""
    names = list[str]()
    dataset = library("h5py").Dataset
    file.visititems(lambda name, item: names.append(name) if item.__class__ is dataset else None)
    return names


def _dataset(file: File, name: str, path: Path, field: str) -> Dataset:
    there = dataset_names(file)
    if name.strip("/") not in there:
        raise DataError(
            f"{path}: has no data set {name!r}; it has {', '.join(there[:8])}. Set the field `{field}`"
        )
    dataset = file[name]
    if dataset.is_virtual or dataset.external:
        raise DataError(f"{path}: the values of {name!r} lie in other files; name those files themselves")
    return dataset


def _labels(dataset: Dataset) -> NDArray[np.generic]:
    if library("h5py").check_string_dtype(dataset.dtype) is not None:
        return np.array(dataset.asstr()[()], dtype=np.str_)
    require_numbers(dataset.dtype, f"labels {dataset.name}")
    return np.asarray(dataset[()])
