"""Tables that name images: CSV files with a header, and text files of one path a line. Torch-free."""

from __future__ import annotations

import csv
import io
import os
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sslkit.errors import DataError
from sslkit.files.regular import read_text
from sslkit.specs.error_text import suggest

if TYPE_CHECKING:
    from _csv import Reader

DELIMITERS = ",;\t"
TABLES = frozenset({".csv", ".tsv"})
"""Endings of files that are tables, whatever their first line is."""
_ODD = re.compile(r"(?:^|[/\0])(?:/|\.{0,2}(?:[/\0]|$))|\\")
"""What paths, with null characters between them, have that are not written as simply as they can be."""
CHUNK = 500
"""Rows that are lists at a time: fewer than the 700 that wake the garbage collector, which doubles the time."""


class Table(NamedTuple):
    """A listing as it is written."""

    file: Path
    header: tuple[str, ...]
    """Names of the columns; none of a text file."""
    columns: Mapping[str, Sequence[str]]
    """By name, a cell for each row."""
    paths: Sequence[str]
    delimiter: str
    """Empty for a text file."""

    def line(self, row: int) -> int:
        """Of a row in the file, from 1."""
        text = read_text(self.file)
        if not self.delimiter:
            return [number for number, line in enumerate(text.splitlines(), 1) if line.strip()][row]
        reader = _reader(text, self.delimiter)
        numbers = (reader.line_num for cells in reader if cells)
        return next(islice(numbers, row + 1, None))

    def where(self, row: int) -> str:
        """The file and line of a row, for messages."""
        return f"{self.file}: line {self.line(row)}"


def read_table(file: Path, path_column: str) -> Table:
    """The rows of a listing.

    Raises:
        DataError: it cannot be read, is empty, has no column `path_column`, or a row of another length.
    """
    text = read_text(file, advice="save it in UTF-8")
    if not text.strip():
        raise DataError(
            f"{file}: is empty; expected a header and a row for each image, or a path on each line"
        )
    first = next(line for line in text.splitlines() if line.strip())
    headers = {delimiter: _cells(first, delimiter) for delimiter in DELIMITERS}
    fitting = [delimiter for delimiter, header in headers.items() if path_column in header]
    if fitting:
        return _table(file, text, path_column, max(fitting, key=lambda delimiter: len(headers[delimiter])))
    if file.suffix.lower() in TABLES:
        header = max(headers.values(), key=len)
        raise DataError(
            f"{file}: line 1: has no column {path_column!r}. {suggest(path_column, filter(None, header))} Name the "
            "one that holds the paths of the images, as in `columns: {path: file}`, or write a header"
        )
    return Table(file, (), {}, list(filter(None, map(str.strip, text.splitlines()))), "")


def files_of(table: Table, root: Path, *, folders: bool = False) -> list[str]:
    """Path below `root` of the file of each row, as this system writes it; with `folders`, it may be a folder.

    Raises:
        DataError: one leads out of `root`, is there twice, or is not there at all.
    """
    written = table.paths
    files = list(written)
    if _ODD.search("\0".join(files)):
        bases = {str(base).replace("\\", "/").rstrip("/") + "/" for base in (root.absolute(), root.resolve())}
        files = [
            _simplified(table, row, root, bases) if _ODD.search(path) else path
            for row, path in enumerate(files)
        ]
    if len(set(files)) < len(files):
        first = dict[str, int]()
        row = next(i for i, path in enumerate(files) if first.setdefault(path, i) != i)
        raise DataError(
            f"{table.where(row)}: names {written[row]!r}, as line {table.line(first[files[row]])} does; an image has "
            "one row, so remove one"
        )
    _require_existing(table, files, root, folders)
    return files if os.sep == "/" else [path.replace("/", os.sep) for path in files]


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [
            cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        ]
    except csv.Error:
        return []


def _reader(text: str, delimiter: str) -> Reader:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)


def _table(file: Path, text: str, path_column: str, delimiter: str) -> Table:
    reader = _reader(text, delimiter)
    try:
        header = [name.strip() for name in next(filter(None, reader))]
        if twice := next((name for name in header if name and header.count(name) > 1), None):
            raise DataError(f"{file}: line 1: has the column {twice!r} twice; rename one")
        cells: list[list[str]] = [[] for _ in header]
        while rows := list(islice(filter(None, reader), CHUNK)):
            if set(map(len, rows)) != {len(header)}:
                raise DataError(f"{file}: {_odd_row(text, header, delimiter)}")
            for column, values in zip(cells, zip(*rows, strict=True), strict=True):
                column.extend(map(str.strip, values))
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num}: cannot be read as CSV: {error}") from None
    columns = dict(zip(header, cells, strict=True))
    columns.pop("", None)  # the row numbers that pandas writes
    if not columns[path_column]:
        raise DataError(f"{file}: has a header and no rows; expected one for each image")
    return Table(file, tuple(columns), columns, columns[path_column], delimiter)


def _odd_row(text: str, header: Sequence[str], delimiter: str) -> str:
    """What is wrong with the first row of another length than the header."""
    reader = _reader(text, delimiter)
    cells = next(len(row) for row in reader if row and len(row) != len(header))
    return (
        f"line {reader.line_num}: has {cells} cells, but the header has {len(header)} ({', '.join(header)}); write as "
        f"many, with quotation marks around text that holds {delimiter!r}"
    )


def _simplified(table: Table, row: int, root: Path, bases: Iterable[str]) -> str:
    """The path of a row that is not written simply. Raises DataError where it is empty or leads out of `root`."""
    written = table.paths[row]
    if not written:
        raise DataError(f"{table.where(row)}: names no image; expected a path below {root}, or no row")
    path = written.replace("\\", "/")
    path = next((path.removeprefix(base) for base in bases if path.startswith(base)), path)
    path = posixpath.normpath(path)
    if path.startswith(("/", "../")) or path in ("..", "."):
        raise DataError(
            f"{table.where(row)}: names {written!r}, which does not lie below {root}; a listing names files "
            "below `root` only. Write `root` so that all of them do"
        )
    return path


def _require_existing(table: Table, files: Sequence[str], root: Path, folders: bool) -> None:
    """Pass where every file is there; each folder is listed once."""
    inside = {
        folder: _names_in(root / folder, folders) for folder in {path.rpartition("/")[0] for path in files}
    }
    present = {f"{folder}/{name}" if folder else name for folder, names in inside.items() for name in names}
    missing = [row for row, path in enumerate(files) if path not in present]
    if missing:
        row = missing[0]
        count = f" ({len(missing):,} of {len(files):,} are missing)" if len(missing) > 1 else ""
        raise DataError(
            f"{table.where(row)}: names {table.paths[row]!r}, and there is no such file below {root}{count}; "
            f"{_advice(table, files[row], root, inside)}"
        )


def _names_in(folder: Path, folders: bool) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if folders or not entry.is_dir()}
    except (OSError, ValueError):  # which is no folder, or no name of one
        return set()


def _advice(table: Table, path: str, root: Path, inside: Mapping[str, set[str]]) -> str:
    """What may be meant by a path that is not there."""
    folder, _, name = path.rpartition("/")
    longer = min((other for other in inside[folder] if other.startswith(f"{name}.")), default=None)
    if longer:
        return f"{longer!r} is, so write paths with their endings"
    for other in dict.fromkeys((table.file.parent, root.parent)):
        if os.path.isfile(other / path):  # noqa: PTH113 -- a name with a null character is no file
            return f"it is below {other}, so write `root: {other}`"
    if not table.header and any(delimiter in path for delimiter in " ,;\t"):
        return "a text file has a path on each line and no more; for labels write CSV with the header `path,label`"
    return "correct the path, or remove the row"
