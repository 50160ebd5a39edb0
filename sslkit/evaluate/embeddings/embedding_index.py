"""faiss indexes beside files of embeddings: inner products of vectors of length 1, so cosines, exact."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter

from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.embeddings.embedding_file import Embeddings, load_embeddings
from sslkit.evaluate.embeddings.partial_rows import Floats
from sslkit.files.regular import require_regular
from sslkit.files.typed_json import JsonFile, Whole
from sslkit.runtime.atomic_files import write_json, write_whole

if TYPE_CHECKING:
    import faiss

ENDING = ".faiss"
PART = 1 << 16
"""Rows that are added at once."""
BLOCK = 1 << 20
"""Bytes that are read at once."""


@final
class _Described(BaseModel):
    """What stands beside an index."""

    format: Literal["sslkit index 1"]
    rows: Whole
    width: Whole
    weights_sha256: str
    sha256: str
    """Of the index: faiss follows what a damaged one says."""


AGAIN = "write it again with `sslkit embed ... --index`"
DESCRIBED = JsonFile(TypeAdapter(_Described), CheckpointError, AGAIN)


class OpenIndex(NamedTuple):
    """An index, and the embeddings that it was made of."""

    vectors: faiss.Index
    """Of length 1, so that inner products are cosines."""
    embeddings: Embeddings


def write_index(path: Path) -> Path:
    """Write the index of the embeddings in the file `path` beside it, with a JSON file about it; returns its path.

    Raises:
        SpecError: they are patch tokens.
        DataError: `path` cannot be read.
        StorageError: the index cannot be written.
    """
    import faiss

    embeddings = load_embeddings(path)
    if embeddings.values.ndim != 2:
        raise SpecError(
            f"{path}: holds patch tokens, and an index is of one vector an image: `--tokens class` or `mean`"
        )
    index = faiss.IndexFlatIP(embeddings.values.shape[1])
    for part in _parts(embeddings.values):
        index.add(part)
    out, content = path.with_name(path.name + ENDING), memoryview(faiss.serialize_index(index).data)
    write_whole(out, lambda file: file.write(content))
    about = {
        "format": "sslkit index 1",
        "rows": len(embeddings.values),
        "width": embeddings.values.shape[1],
        "weights_sha256": embeddings.about.weights_sha256,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    write_json(_beside(out), about)
    return out


def open_index(path: Path) -> OpenIndex:
    """The index at `path` and its embeddings, which stand beside it.

    Raises:
        CheckpointError: it is missing, damaged, or not of the embeddings beside it.
        DataError: those cannot be read.
    """
    import faiss

    if path.suffix != ENDING:
        path = path.with_name(path.name + ENDING)
    if not path.exists():
        raise CheckpointError(f"{path}: no such index; `sslkit embed ... --index` writes one")
    require_regular(path, CheckpointError)
    described = DESCRIBED.read(_beside(path))
    if _sha256(path) != described.sha256:
        raise CheckpointError(f"{path}: is damaged or another than {_beside(path).name} says; {AGAIN}")
    embeddings = load_embeddings(path.with_suffix(""))
    about, shape = embeddings.about, embeddings.values.shape
    if shape != (described.rows, described.width) or about.weights_sha256 != described.weights_sha256:
        raise CheckpointError(f"{path}: is of other embeddings than those beside it; {AGAIN}")
    return OpenIndex(faiss.read_index(str(path)), embeddings)


def unit(values: Floats) -> NDArray[np.float32]:
    """`[N, D]` rows of length 1; those of zeros stay."""
    rows = np.ascontiguousarray(values, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def _parts(values: Floats) -> Iterator[NDArray[np.float32]]:
    return (unit(values[start : start + PART]) for start in range(0, len(values), PART))


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
