"""Columns and metadata of parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sslkit.plugin import DataError, require_regular


def read_column(path: Path, column: str, field: str) -> pa.ChunkedArray:
    """The whole `column`; `field` is where the spec names it.

    Raises:
        DataError: the file is no parquet file, or has no such column.
    """
    require_regular(path)
    try:
        with pq.ParquetFile(path) as file:
            require_column(path, file.schema_arrow.names, column, field)
            return file.read(columns=[column]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None


def read_group(path: Path, column: str, group: int) -> pa.ChunkedArray:
    """The column `image_column` of one row group, in this thread alone.

    Raises:
        DataError: the file is no parquet file, or has no such column or row group.
    """
    require_regular(path)
    try:
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            require_column(path, file.schema_arrow.names, column, "image_column")
            return file.read_row_group(group, columns=[column], use_threads=False).column(0)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None


def require_column(path: Path, names: Sequence[str], column: str, field: str) -> None:
    """Raises DataError where `column` is none of `names`; `field` is where the spec names it."""
    if column not in names:
        raise DataError(
            f"{path}: has no column {column!r}; it has {', '.join(names)}. Name one of them with `{field}`."
        )


def read_metadata(path: Path) -> Mapping[bytes, bytes]:
    """Key-value pairs of the schema. Raises DataError where the file is no parquet file."""
    try:
        return pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None
