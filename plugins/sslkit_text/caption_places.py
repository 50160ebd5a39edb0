"""Where captions are: made of labels, in a table, beside each image, or in a column of the images' parquet files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Protocol, final, runtime_checkable

import pyarrow.parquet as pq

from sslkit.interfaces import Source
from sslkit.plugin import DataError, read_text
from sslkit_text.captioned_source import BETWEEN


def from_labels(images: Source, templates: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """A caption of each template for every image, `{}` being the name of its class.

    Args:
        images: with labels.
        templates: texts with one `{}`.
        names: words for classes, by their names; a class that is not here goes by its own.

    Raises:
        DataError: the images have no labels, or `names` has one that is no class.
    """
    if images.labels is None:
        raise DataError("class_captions: these images have no labels to make captions of")
    if unknown := set(names) - set(images.classes):
        raise DataError(
            f"class_captions: `names` has {sorted(unknown)}, but classes are {list(images.classes)}"
        )
    words = [names.get(name, name) for name in images.classes]
    captions = [BETWEEN.join(template.replace("{}", word) for template in templates) for word in words]
    return [captions[label] for label in images.labels.tolist()]


def from_table(images: Source, table: Path, image: str, caption: str) -> list[str]:
    """The captions of a table, by the names of images; "" where it has none for an image.

    Args:
        images: whose `name` ends as the column `image` says.
        table: CSV, or tab-separated where it ends in `.tsv`, with a line of column names first.
        image: column of files, as the source names them.
        caption: column of texts. Several rows of one image are several captions.

    Raises:
        DataError: the table cannot be read, lacks a column, or names none of the images.
    """
    texts: dict[str, list[str]] = {}
    try:
        for name, text in _rows(table, image, caption):
            texts.setdefault(name, []).append(text)
    except csv.Error as error:
        raise DataError(f"{table}: {error}; is a quote open?") from None
    captions = [BETWEEN.join(texts.get(images.name(i), ())) for i in range(len(images))]
    if not any(captions):
        if not texts:
            raise DataError(f"{table}: has no captions in column {caption!r}")
        they = f"it has {next(iter(texts))!r}, they have {images.name(0)!r}"
        raise DataError(
            f"{table}: names none of the images: {they}; write paths below the folder of the images"
        )
    return captions


def _rows(table: Path, image: str, caption: str) -> Iterator[tuple[str, str]]:
    """(image, caption) of each row that has both; a caption in quotes may have several lines."""
    tabs = table.suffix == ".tsv"
    rows = csv.DictReader(StringIO(read_text(table), newline=""), delimiter="\t" if tabs else ",")
    columns = list(rows.fieldnames or ())
    for column in (image, caption):
        if column not in columns:
            between = "tabs" if tabs else "commas"
            what = f"its columns are {', '.join(columns)}" if columns else "it is empty"
            raise DataError(f"{table}: has no column {column!r}; {what} ({between} between columns)")
    for row in rows:
        if row[image] and (row[caption] or "").strip():
            yield row[image], row[caption]


@runtime_checkable
class HasTexts(Protocol):
    """A source that gives further texts of a sample itself, as that of tar shards does."""

    def text(self, index: int, ending: str) -> str | None:
        """The member `ending` of the sample; None where it has none."""
        ...


@final
class BesideImages:
    """Reads the text file beside an image, or the text of its sample, when it is asked for."""

    def __init__(self, images: Source, root: Path | None, ending: str) -> None:
        """`root`: folder that names of images start from; None where the source has texts itself."""
        self.images, self.root, self.ending = images, root, ending.lstrip(".")

    def __call__(self, index: int) -> str:
        """The caption of image `index`, without white space at its ends; one a line where there are several."""
        name = self.images.name(index)
        if self.root is not None:
            text: str | None = read_text((self.root / name).with_suffix(f".{self.ending}"))
        elif isinstance(self.images, HasTexts):
            text = self.images.text(index, self.ending)
        else:
            raise DataError(f"{name}: give `root`, the folder that the names of images start from")
        if text is None:
            raise DataError(f"{name}: its sample has no member `.{self.ending}`")
        return BETWEEN.join(line.strip() for line in text.splitlines() if line.strip())


@final
class ColumnOfFiles:
    """Reads a text column of the parquet files that hold the images."""

    def __init__(self, images: Source, column: str) -> None:
        self.images, self.column = images, column

    def all(self) -> list[str]:
        """The caption of every image.

        Raises:
            DataError: images are not rows of parquet files, or these lack the column.
        """
        return [self._of(self.images.name(i)) for i in range(len(self.images))]

    def _of(self, name: str) -> str:
        path, mark, row = name.rpartition(" row ")
        if not mark:
            raise DataError(
                f"{name}: is no row of a parquet file; caption_column needs `images: {{kind: parquet}}`"
            )
        text = self._texts(path)[int(row)]
        return BETWEEN.join(text) if isinstance(text, list) else str(text or "")

    def _texts(self, path: str) -> list[object]:
        if path not in self._read:
            if self.column not in pq.read_schema(path).names:
                raise DataError(f"{path}: has no column {self.column!r}; it has {pq.read_schema(path).names}")
            self._read[path] = pq.read_table(path, columns=[self.column])[self.column].to_pylist()
        return self._read[path]

    @cached_property
    def _read(self) -> dict[str, list[object]]:
        return {}
