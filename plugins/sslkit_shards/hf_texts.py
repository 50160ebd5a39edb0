"""Columns of Hugging Face data sets that hold text, numbers or classes."""

from __future__ import annotations

import pyarrow as pa
from datasets import Dataset

from sslkit.plugin import DataError


def column_of(dataset: Dataset, name: str, field: str, where: str) -> Dataset:
    """The column alone, in Arrow's form, so that nothing is decoded.

    Args:
        dataset: the rows.
        name: of the column.
        field: where the spec names it.
        where: the data set, for errors.

    Raises:
        DataError: there is no such column.
    """
    if name not in dataset.column_names:
        raise DataError(
            f"{where}: has no column {name!r}; it has {', '.join(dataset.column_names)}. Name one of them with "
            f"`{field}`"
        )
    return dataset.select_columns([name]).with_format("arrow")


def texts_in(dataset: Dataset, name: str, field: str, where: str) -> list[str]:
    """The text of each row of column `name`: the name of its class, or its value; empty where there is none.

    Raises:
        DataError: there is no such column, or it holds neither classes, whole numbers, truth values nor text.
    """
    values = column_of(dataset, name, field, where)[:].column(0)
    feature = dataset.features[name]
    kind = values.type
    plain = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string)
    if not any(fits(kind) for fits in plain):
        raise DataError(
            f"{where}: column {name!r} holds {kind}; expected classes, whole numbers, truth values or text. Name "
            f"another with `{field}`, or none with null"
        )
    if names := getattr(feature, "names", None):
        classes = dict(enumerate(names))  # -1 stands for an unknown class
        return [classes.get(value, "") for value in values.to_pylist()]
    return ["" if value is None else str(value) for value in values.to_pylist()]
