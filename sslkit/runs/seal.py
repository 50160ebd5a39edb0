"""Checksums inside files: a bit that flipped, or an edit, does not pass for what was written. Torch-free."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sslkit.errors import CheckpointError

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


def unsealed(fields: Mapping[str, object], path: Path, remedy: str = "") -> Fields:
    """`fields`, read from `path`, without their checksum; those of earlier versions have none, and no run's id.

    Raises:
        CheckpointError: they are not what was written; `remedy` says what to do.
    """
    plain = {key: value for key, value in fields.items() if key != CHECKSUM}
    if (CHECKSUM in fields or RUN in fields) and fields.get(CHECKSUM) != digest(plain):
        raise CheckpointError(f"{path}: is damaged or was edited, as its checksum is another{remedy}")
    return plain
