"""Fields that name one file or folder, or several. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sslkit.plugin import Problem

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


def tables_missing(files: Mapping[str, Path | None]) -> Iterator[Problem]:
    """Fields that name tables of images that are not there."""
    for field, file in files.items():
        if file and not file.expanduser().is_file():
            yield Problem(field, f"{file}: no such file; expected a CSV file with a column 'path'")


def without_effect(spec: SourceSpec, needs: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Fields of `needs` that have no effect, as another field that they need is not set."""
    for field, others in needs.items():
        for other in others:
            if getattr(spec, other) is None:
                yield Problem(field, f"has no effect without `{other}`; give that too, or leave this out")
