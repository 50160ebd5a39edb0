"""Embeddings as parquet, npy and safetensors files: written in parts, so that rows need not fit in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.evaluate.embeddings.partial_rows import VALUES, Floats, PartialRows
from sslkit.runtime.atomic_files import storing, sync_folder, write_json, write_whole

METADATA = "sslkit"
"""Name of what a file says of itself."""
PART = 1 << 26
"""Bytes of rows that are read at once."""
UNLABELED = -1


class Listed(NamedTuple):
    """What is written beside the rows, one entry for each."""

    indices: NDArray[np.int64]
    """Places in the source, rising."""
    names: Sequence[str]
    labels: NDArray[np.int64] | None
    classes: Sequence[str]
    """Names of the labels."""


Write = Callable[[Path, PartialRows, Listed, Mapping[str, object]], None]
"""File, rows of which those of the indices are kept, what is listed, metadata."""


def beside(path: Path) -> Path:
    """The JSON file beside an `.npy` file."""
    return path.with_name(path.name + ".json")


def write_npy(path: Path, partial: PartialRows, listed: Listed, about: Mapping[str, object]) -> None:
    """`path` and, before it, the JSON beside it. Where every image can be read, the rows only move there."""
    labels = None if listed.labels is None else listed.labels.tolist()
    columns = {"indices": listed.indices.tolist(), "names": list(listed.names), "labels": labels}
    write_json(beside(path), {**about, **columns})
    if len(listed.indices) == partial.rows.images:
        with storing(path):
            (partial.folder / VALUES).replace(path)
            sync_folder(path.parent)
        return

    def write(file: BinaryIO) -> None:
        file.write(partial.rows.header(len(listed.indices)))
        for _, part in _parts(partial, listed.indices):
            file.write(part.data.cast("B"))

    write_whole(path, write)


def write_safetensors(path: Path, partial: PartialRows, listed: Listed, about: Mapping[str, object]) -> None:
    """Tensors `embeddings`, `indices` and `labels`, and `names` as UTF-8 with a zero byte between two."""
    names = "\0".join(listed.names).encode(errors="surrogateescape")
    small = {"indices": listed.indices, "labels": listed.labels, "names": np.frombuffer(names, np.uint8)}
    arrays = {name: array for name, array in small.items() if array is not None and array.size}
    count, rows = len(listed.indices), partial.rows
    header: dict[str, object] = {"__metadata__": {"format": "pt", METADATA: json.dumps(about)}}
    end = count * rows.row_bytes
    kind = {"float32": "F32", "float16": "F16"}[rows.dtype]
    header["embeddings"] = {"dtype": kind, "shape": [count, *rows.shape], "data_offsets": [0, end]}
    for name, array in sorted(
        arrays.items(), key=lambda item: -item[1].itemsize
    ):  # wide types first: aligned
        begin, end = end, end + array.nbytes
        kind = {8: "I64", 1: "U8"}[array.itemsize]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [begin, end]}

    def write(file: BinaryIO) -> None:
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        for _, part in _parts(partial, listed.indices):
            file.write(part.data.cast("B"))
        for name in list(header)[2:]:
            file.write(arrays[name].tobytes())

    write_whole(path, write)


def write_parquet(path: Path, partial: PartialRows, listed: Listed, about: Mapping[str, object]) -> None:
    """Columns `index`, `name`, `label`, `class` and `embedding`, a list of fixed length: tokens one after another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = partial.rows
    width = rows.row_bytes // np.dtype(rows.dtype).itemsize
    kind = {"float32": pa.float32(), "float16": pa.float16()}[rows.dtype]
    schema = pa.schema(
        [
            pa.field("index", pa.int64(), nullable=False),
            pa.field("name", pa.string(), nullable=False),
            ("label", pa.int64()),
            ("class", pa.string()),
            pa.field("embedding", pa.list_(kind, width), nullable=False),
        ],
        metadata={METADATA: json.dumps(about)},
    )
    labels = listed.labels

    def table(places: slice, part: Floats) -> pa.Table:
        names = [name.encode(errors="replace").decode() for name in listed.names[places]]
        some = [None] * len(names) if labels is None else _labels(labels[places])
        classes = [None if label is None else listed.classes[label] for label in some]
        flat = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), width)
        columns = [
            listed.indices[places],
            names,
            pa.array(some, pa.int64()),
            pa.array(classes, pa.string()),
            flat,
        ]
        return pa.table(columns, schema=schema)

    def write(file: BinaryIO) -> None:
        how = {
            "compression": {"name": "zstd"},
            "use_dictionary": ["class"],
            "write_statistics": ["index", "label"],
        }
        with pq.ParquetWriter(file, schema, **how) as writer:
            for places, part in _parts(partial, listed.indices):
                writer.write_table(table(places, part))

    write_whole(path, write)


WRITERS: Mapping[str, Write] = {
    ".parquet": write_parquet,
    ".npy": write_npy,
    ".safetensors": write_safetensors,
}
"""By the ending of the file."""


def _parts(partial: PartialRows, indices: NDArray[np.int64]) -> Iterator[tuple[slice, Floats]]:
    """(places among `indices`, their rows) one part after another."""
    values, most = partial.values(), max(1, PART // partial.rows.row_bytes)
    for start in range(0, len(indices), most):
        places = slice(start, start + most)
        yield places, np.ascontiguousarray(values[indices[places]])


def _labels(labels: NDArray[np.int64]) -> list[int | None]:
    return [None if label == UNLABELED else label for label in labels.tolist()]
