"""Feature cache on disk, keyed by weights, data and readout; read by memory mapping."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

import numpy as np
import torch

from sslkit.core.evaluator import Rows
from sslkit.core.source import Source
from sslkit.errors import SslkitWarning, StorageError
from sslkit.files.regular import require_regular
from sslkit.runtime.array_file import read_arrays
from sslkit.runtime.atomic_files import write_whole

FEATURES = "features"
"""Folder inside a run's."""


@final
class FeatureStore:
    """A folder of features. `about` identifies network, readout, view, precision and versions."""

    def __init__(self, folder: Path, about: Mapping[str, object]) -> None:
        self.folder, self._about = folder, about

    def get(self, source: Source, layer: int, make: Callable[[], Rows]) -> Rows:
        """The rows of `source`, read from the folder where they are there, or made by `make`.

        Where an image cannot be read nothing is kept, so that the next evaluation reports it too.
        """
        path = self._path(source.fingerprint, layer)
        rows = self._read(path)
        if rows is None:
            rows = make()
            if len(rows.indices) == len(source):
                try:
                    self._write(path, rows)
                except StorageError as error:  # the next evaluation makes them again
                    warnings.warn(f"{error}; features are not kept", SslkitWarning, stacklevel=2)
        return rows

    def find(self, source: Source, layer: int) -> Rows | None:
        """The rows in the folder; None where there are none."""
        return self._read(self._path(source.fingerprint, layer))

    def _path(self, fingerprint: str, layer: int) -> Path:
        identity = json.dumps({**self._about, "data": fingerprint, "layer": layer}, sort_keys=True)
        return self.folder / hashlib.sha256(identity.encode()).hexdigest()[:32]

    def _read(self, path: Path) -> Rows | None:
        """None where there is nothing, or nothing that can be read: it is then made again."""
        values_file, names = (
            path.with_suffix(".values.npy"),
            {"indices": "i1", "labels": "i1", "classes": "U1"},
        )
        try:
            require_regular(values_file)
            values = np.lib.format.open_memmap(values_file, mode="c")
            indices, labels, classes = read_arrays(path.with_suffix(".npz"), names, "")
        except Exception:  # a damaged header lets NumPy's parser raise whatever it meets
            return None
        rows = len(indices)
        if values.dtype.kind != "f" or values.shape[:1] != (rows,) or len(labels) not in (0, rows):
            return None
        return Rows(
            torch.from_numpy(values),
            torch.from_numpy(indices),
            torch.from_numpy(labels) if len(labels) else None,
            tuple(map(str, classes)),
        )

    def _write(self, path: Path, rows: Rows) -> None:
        labels = torch.empty(0, dtype=torch.int64) if rows.labels is None else rows.labels
        indices, classes = rows.indices.cpu().numpy(), np.array(rows.classes, dtype=str)
        write_whole(path.with_suffix(".values.npy"), lambda file: np.save(file, rows.values.cpu().numpy()))
        write_whole(
            path.with_suffix(".npz"),
            lambda file: np.savez(file, indices=indices, labels=labels.cpu().numpy(), classes=classes),
        )
