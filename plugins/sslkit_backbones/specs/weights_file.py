"""The file of weights that a backbone starts from. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sslkit.plugin import Problem


def weights_problems(checkpoint: Path | None) -> Iterator[Problem]:
    """A `checkpoint` that is named must exist: a file, or a folder of Hugging Face."""
    if checkpoint is not None and not (checkpoint.is_file() or (checkpoint / "config.json").is_file()):
        yield Problem("checkpoint", f"no file {checkpoint}; `sslkit export` writes one")
