"""Checksums inside files: a bit that flipped, or an edit, does not pass for what was written. Torch-free."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sslkit.errors import CheckpointError
from sslkit.files.typed_json import JsonFile
from sslkit.runtime.readable import reading

CHECKSUM = "checksum"
RUN = "run"
"""Field with the id of the run that a file belongs to."""

Fields = dict[str, Any]
"""What a JSON file holds."""


def digest(fields: Mapping[str, object]) -> str:
    """sha256 of what `fields` says, however it is laid out in a file."""
    plain = json.loads(json.dumps(dict(fields), default=str))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sealed(fields: Mapping[str, object]) -> Fields:
    """`fields` with their checksum."""
    plain = {key: value for key, value in fields.items() if key != CHECKSUM}
    return {**plain, CHECKSUM: digest(plain)}


def read_sealed(path: Path, shape: JsonFile[Any], remedy: str = "") -> Fields:
    """What the JSON file at `path` says, without its checksum; those of earlier versions have none, and no run's id.

    Raises:
        CheckpointError: it has another shape, or is not what was written; `remedy` says what to do.
        FileNotFoundError: it is not there.
        StorageError: it cannot be read.
    """
    with reading(path):
        content = path.read_bytes()
    fields: Fields = shape.parse(content, str(path))
    plain = {key: value for key, value in fields.items() if key != CHECKSUM}
    if (CHECKSUM in fields or RUN in fields) and fields.get(CHECKSUM) != digest(plain):
        raise CheckpointError(f"{path}: is damaged or was edited, as its checksum is another{remedy}")
    return plain
