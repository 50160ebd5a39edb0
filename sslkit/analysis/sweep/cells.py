"""Cells of a sweep: which are finished, and whether their folders and the table's format can be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.errors import SpecError, SslkitError
from sslkit.runs.history import require_same_run
from sslkit.runs.lock import differences
from sslkit.runs.summary import read_summary
from sslkit.specs.sweep import Cell

if TYPE_CHECKING:
    pass


def finished(cell: Cell) -> bool:
    """Whether the cell's folder holds the very run of its spec, at its end.

    Raises:
        CheckpointError: its lock is gone or damaged.
    """
    run_dir = cell.spec.run_dir
    return bool(read_summary(run_dir).get("finished")) and not differences(cell.spec, run_dir)


def is_finished(cell: Cell) -> bool:
    """As `finished`; no where the lock is gone or damaged, of which the run itself then tells."""
    try:
        return finished(cell)
    except SslkitError:
        return False


def require_own_folders(cells: Sequence[Cell]) -> None:
    """Pass where no cell's folder holds another run. Raises SpecError with all that do."""
    wrong = []
    for cell in cells:
        try:
            require_same_run(cell.spec, cell.spec.run_dir)
        except SslkitError as error:
            wrong.append(str(error))
    if wrong:
        raise SpecError("\n".join(["nothing was started:", *wrong]))


def require_format(path: Path) -> None:
    """Pass where tables can be written to `path`. Raises SpecError otherwise."""
    if path.suffix not in (".csv", ".json", ".md"):
        raise SpecError(f"--table: {path} must end in .csv, .json or .md")
