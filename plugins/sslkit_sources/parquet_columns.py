"""Columns and metadata of parquet files."""

from __future__ import annotations

from collections.abc import Mapping
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
            names = file.schema_arrow.names
            if column not in names:
                raise DataError(
                    f"{path}: has no column {column!r}; it has {', '.join(names)}. "
                    f"Name one of them with `{field}`."
                )
            return file.read(columns=[column]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None


def read_metadata(path: Path) -> Mapping[bytes, bytes]:
    """Key-value pairs of the schema. Raises DataError where the file is no parquet file."""
    try:
        return pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None
