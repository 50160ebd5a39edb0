"""Fields that name one file or folder, or several. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

Paths = Path | Annotated[tuple[Path, ...], Field(min_length=1)]
"""One path, or a list."""


def placed(field: str, paths: Paths | None) -> list[tuple[str, Path]]:
    """(path in the spec, file or folder) of each, with the home folder put in."""
    match paths:
        case None:
            return []
        case Path():
            return [(field, paths.expanduser())]
        case _:
            return [(f"{field}.{place}", path.expanduser()) for place, path in enumerate(paths)]
