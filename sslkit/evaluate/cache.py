"""Features on disk: made once for weights, data and readout, and memory-mapped afterwards."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, final
from zipfile import BadZipFile

import numpy as np
import torch

from sslkit.core.evaluator import Rows
from sslkit.core.source import Source
from sslkit.errors import StorageError
from sslkit.train.files import write_whole

FEATURES = "features"
"""Folder inside a run's."""


@final
class FeatureStore:
    """A folder of features. `about` identifies network, readout, view, precision and versions."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self._about = folder, about

    def get(self, source: Source, layer: int, make: Callable[[], Rows]) -> Rows:
        """What `make` makes of `source`, from the folder where it is there; whole or made anew.

        Where an image cannot be read nothing is kept, so that the next evaluation tells of it too.
        """
        path = self._path(source.fingerprint, layer)
        found = self._read(path)
        if found is None:
            found = make()
            if len(found.indices) == len(source):
                try:
                    self._write(path, found)
                except StorageError as error:  # the next evaluation makes them again
                    warnings.warn(f"{error}; features are not kept", stacklevel=2)
        return found

    def find(self, source: Source, layer: int) -> Rows | None:
        """What is in the folder; None where nothing is."""
        return self._read(self._path(source.fingerprint, layer))

    def _path(self, fingerprint: str, layer: int) -> Path:
        said = json.dumps({**self._about, "data": fingerprint, "layer": layer}, sort_keys=True)
        return self.folder / hashlib.sha256(said.encode()).hexdigest()[:32]

    def _read(self, path: Path) -> Rows | None:
        """None where there is nothing, or nothing that can be read: it is then made again."""
        try:
            values = np.lib.format.open_memmap(path.with_suffix(".values.npy"), mode="c")
            with path.with_suffix(".npz").open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                indices, labels = torch.from_numpy(file["indices"]), torch.from_numpy(file["labels"])
                classes = tuple(str(name) for name in file["classes"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        if len(values) != len(indices):
            return None
        return Rows(torch.from_numpy(values), indices, labels if len(labels) else None, classes)

    def _write(self, path: Path, rows: Rows) -> None:
        labels = torch.empty(0, dtype=torch.int64) if rows.labels is None else rows.labels
        parts: dict[str, Any] = {
            "indices": rows.indices.cpu().numpy(),
            "labels": labels.cpu().numpy(),
            "classes": np.array(rows.classes, dtype=str),
        }
        write_whole(path.with_suffix(".values.npy"), lambda file: np.save(file, rows.values.cpu().numpy()))
        write_whole(path.with_suffix(".npz"), lambda file: np.savez(file, **parts))
