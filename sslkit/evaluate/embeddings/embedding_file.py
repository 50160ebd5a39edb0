"""Reads the files of `sslkit embed`, whose rows are mapped from the disk where the format allows it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sslkit.errors import DataError, SpecError
from sslkit.evaluate.embeddings.embedding_formats import METADATA, beside
from sslkit.evaluate.embeddings.partial_rows import Floats
from sslkit.files.regular import require_regular
from sslkit.files.typed_json import JsonFile, Number, Whole
from sslkit.specs.embedding import ENDINGS

FORMAT = "sslkit embeddings 1"
"""What files of this layout say of themselves."""


@final
class SeenView(BaseModel):
    """How images were shown to the network."""

    size: Annotated[int, Field(ge=1, le=16_384, strict=True)]
    crops: Annotated[int, Field(ge=1, le=1024)] = 1
    channels: Annotated[int, Field(ge=1, le=1024)]
    mean: tuple[Number, ...]
    std: tuple[Number, ...]


@final
class LeftOut(NamedTuple):
    """An image that cannot be read."""

    place: Whole
    """In the source."""
    name: str
    reason: str


@final
class About(BaseModel):
    """What a file of embeddings says of itself; formats may add to it."""

    model_config = ConfigDict(extra="allow")
    format: Literal["sslkit embeddings 1"]
    sslkit: str
    """Version."""
    what: str
    """As it was given: a run folder, an exported file, or `timm:NAME`."""
    checkpoint: str
    step: Whole
    weights_sha256: str
    head_sha256: str | None
    net: str
    tokens: Literal["class", "mean", "patch"]
    layer: int
    view: SeenView
    crop: Number
    dtype: Literal["float32", "float16"]
    precision: str
    device: str
    batch_size: Whole
    data: Mapping[str, object]
    """Spec of the source."""
    split: Literal["train", "test"]
    fingerprint: str
    """Of the images."""
    images: Whole
    """Readable or not."""
    classes: tuple[str, ...]
    labeled: bool
    shape: tuple[Whole, ...]
    """Of the embedding of an image."""
    unreadable: tuple[LeftOut, ...]

    @property
    def rows(self) -> int:
        """Embeddings in the file."""
        return self.images - len(self.unreadable)


class Embeddings(NamedTuple):
    """What a file of `sslkit embed` holds; rows are in the order of the source."""

    values: Floats
    """`[N, D]`, or `[N, P, D]` of patch tokens; float32 or float16."""
    indices: NDArray[np.int64]
    """`[N]`, places in the source: those of unreadable images are left out."""
    names: tuple[str, ...]
    """Of the images."""
    labels: NDArray[np.int64] | None
    """`[N]`, places in `about.classes`; None without labels."""
    about: About
    """What they came from."""


AGAIN = "take them again with `sslkit embed`"
ABOUT = JsonFile(TypeAdapter(About), DataError, AGAIN)


@final
class _Columns(BaseModel):
    """What the JSON beside an `.npy` file lists."""

    indices: tuple[Whole, ...]
    names: tuple[str, ...]
    labels: tuple[Whole, ...] | None


COLUMNS = JsonFile(TypeAdapter(_Columns), DataError, AGAIN)


def load_embeddings(path: str | Path) -> Embeddings:
    """The embeddings in a file of `sslkit embed`.

    Args:
        path: a `.parquet`, `.npy` or `.safetensors` file.

    Raises:
        DataError: there is no such file, it is damaged, or it comes from elsewhere.
        SpecError: the ending is another.
    """
    path = Path(path)
    loaded = _reader(path)[1](path)
    count, about = len(loaded.values), loaded.about
    lengths = {
        len(loaded.indices),
        len(loaded.names),
        *(() if loaded.labels is None else (len(loaded.labels),)),
    }
    whole = lengths == {count} and loaded.values.shape == (about.rows, *about.shape)
    if not whole or loaded.values.dtype != about.dtype or (loaded.labels is not None) != about.labeled:
        raise DataError(
            f"{path}: is damaged: its rows are not as many as it says, or of another form; {AGAIN}"
        )
    if (
        loaded.labels is not None
        and count
        and not 0 <= loaded.labels.min() <= loaded.labels.max() < len(about.classes)
    ):
        raise DataError(f"{path}: is damaged: a label is of no class; {AGAIN}")
    return loaded


def read_about(path: Path) -> About:
    """What the file at `path` says of itself. Errors are those of `load_embeddings`."""
    return _reader(path)[0](path)


Reader = tuple[Callable[[Path], About], Callable[[Path], Embeddings]]


def _reader(path: Path) -> Reader:
    if path.suffix not in READERS:
        raise SpecError(f"{path}: embeddings are in files that end in {', '.join(ENDINGS)}")
    require_regular(path)
    return READERS[path.suffix]


@contextlib.contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """Around a library's parser, which may raise whatever it meets in a damaged file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: cannot be read ({detail}); {AGAIN}") from None


def _parsed(path: Path, text: str | bytes | None) -> About:
    if text is None:
        raise DataError(f"{path}: does not say what its embeddings came from, as files of `sslkit embed` do")
    return ABOUT.parse(text, f"{path}: metadata {METADATA!r}")


def _about_npy(path: Path) -> About:
    if not beside(path).exists():
        raise DataError(
            f"{beside(path)}: is missing, which says what the embeddings in {path.name} came from"
        )
    return ABOUT.read(beside(path))


def _read_npy(path: Path) -> Embeddings:
    about, columns = _about_npy(path), COLUMNS.read(beside(path))
    with _parsing(path):
        values = np.lib.format.open_memmap(path, mode="r")
    labels = None if columns.labels is None else np.array(columns.labels, np.int64)
    return Embeddings(values, np.array(columns.indices, np.int64), columns.names, labels, about)


def _about_safetensors(path: Path) -> About:
    from safetensors import safe_open

    with _parsing(path), safe_open(path, "np") as file:
        metadata: dict[str, str] = file.metadata() or {}
    return _parsed(path, metadata.get(METADATA))


def _read_safetensors(path: Path) -> Embeddings:
    from safetensors import safe_open

    about = _about_safetensors(path)
    with _parsing(path), safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        names = arrays["names"].tobytes().decode(errors="surrogateescape").split("\0")
        return Embeddings(arrays["embeddings"], arrays["indices"], tuple(names), arrays.get("labels"), about)


def _about_parquet(path: Path) -> About:
    import pyarrow.parquet as pq

    with _parsing(path):
        metadata = pq.read_schema(path).metadata or {}
    return _parsed(path, metadata.get(METADATA.encode()))


def _read_parquet(path: Path) -> Embeddings:
    import pyarrow.parquet as pq

    about = _about_parquet(path)
    with _parsing(path):
        table = pq.read_table(path)
        rows = table["embedding"].combine_chunks()
        if table["label"].null_count not in (0, len(table)):
            raise DataError(f"{path}: is damaged: some rows have no label; {AGAIN}")
        labels = table["label"].to_numpy() if about.labeled else None
        values = rows.flatten().to_numpy(zero_copy_only=False).reshape(len(table), *about.shape)
        return Embeddings(values, table["index"].to_numpy(), tuple(table["name"].to_pylist()), labels, about)


READERS: Mapping[str, Reader] = {
    ".parquet": (_about_parquet, _read_parquet),
    ".npy": (_about_npy, _read_npy),
    ".safetensors": (_about_safetensors, _read_safetensors),
}
"""By the ending: what reads the metadata alone, and what reads all."""
