"""Class names in the Hugging Face metadata of parquet files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import final

from pydantic import BaseModel, TypeAdapter

from sslkit.plugin import DataError, JsonFile, SslkitWarning

KEY = b"huggingface"
"""Of the metadata."""


@final
class _Info(BaseModel):
    features: Mapping[str, object] | None = None


@final
class _Described(BaseModel):
    info: _Info = _Info()


@final
class _ClassLabel(BaseModel):
    names: tuple[str, ...] | None = None


_ADVICE = "classes go by their numbers. Write the file again to give them names"
_DESCRIBED = JsonFile(TypeAdapter(_Described), DataError, _ADVICE)
_CLASS_LABEL = JsonFile(TypeAdapter(_ClassLabel), DataError, _ADVICE)


def class_names(path: Path, metadata: Mapping[bytes, bytes], column: str) -> tuple[str, ...]:
    """Names of the classes of `column`; none where `metadata` has none, and with a warning where it is damaged.

    Images and labels do not depend on it, so it stops no run.
    """
    where = f"{path}: metadata {KEY.decode()!r}"
    try:
        described = _DESCRIBED.parse(metadata.get(KEY, b"{}").decode(errors="replace"), where)
        match (described.info.features or {}).get(column):
            case Mapping() as feature:
                return _CLASS_LABEL.check(feature, f"{where}: feature {column!r}").names or ()
    except DataError as error:
        warnings.warn(str(error), SslkitWarning, stacklevel=2)
    return ()
