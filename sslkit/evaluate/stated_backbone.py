"""What a file of weights may state of its network."""

from __future__ import annotations

from pathlib import Path

from sslkit.errors import CheckpointError
from sslkit.runs.allowed_changes import file_paths
from sslkit.specs.families import BackboneSpec


def require_no_files(spec: BackboneSpec, path: Path, weights: str = "") -> None:
    """Pass where `spec`, which the file at `path` states, reads no other file.

    Args:
        spec: of the network.
        path: the file of its weights.
        weights: the field of `spec` that is `path` itself.

    Raises:
        CheckpointError: it names one.
    """
    for field, other in file_paths(spec).items():
        if field != weights:
            raise CheckpointError(
                f"{path}: says that its network also reads {other} (`{field}`), but a file of weights names no other; "
                "export it again"
            )
