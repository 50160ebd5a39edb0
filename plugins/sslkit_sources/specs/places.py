"""Fields that name one file or folder, or several. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from sslkit.plugin import RunSpec, SourceSpec

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


def learns_from(run: RunSpec | None, source: SourceSpec) -> bool:
    """Whether `run` trains on `source`, and may not test on what it trains on.

    Of other sources an evaluator may read the test split alone.
    """
    return run is not None and run.data is source and run.max_duplicates < 1
