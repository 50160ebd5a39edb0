"""Spec of the source of parquet files. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import Problem, SourceSpec
from sslkit_sources import listing

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec


@final
class Parquet(SourceSpec):
    """Encoded images in the rows of parquet files, as on the Hugging Face hub. Their bytes stay in memory."""

    unchecked: ClassVar[str] = "it reads parquet files of images"
    kind: Literal["parquet"] = "parquet"
    files: Path
    """A file, a folder of `*.parquet` at any depth, or a pattern such as `data/train-*.parquet`."""
    test: Path | None = None
    """The test split, in the same way. Default: there is no test split."""
    image_column: str = "image"
    """Column of the encoded images: binary, or a struct with a field `bytes`."""
    label_column: str | None = "label"
    """Column of the labels: integers from 0, or class names. null: the images have no labels."""
    attributes: tuple[str, ...] = ()
    """Columns of further labels, for `probing`: whole numbers, truth values or text; empty cells are unknown."""
    channels: Literal[1, 3] = 3
    """Channels of every image."""
    convert: bool = True
    """Bring gray, palette, alpha and CMYK images to `channels`; false: such an image is an error."""
    max_pixels: int = Field(89_478_485, ge=1)
    """Pixels of an image at most, read from its header: past it, it is unreadable. Default: where PIL warns."""
    max_classes: int = Field(100_000, ge=1)
    """Classes at most that integer labels may count up to; larger ones are hardly classes."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        for field, files in (("files", self.files), ("test", self.test)):
            message = listing.parquet_problem(files.expanduser()) if files else None
            if message:
                yield Problem(field, message)

    def build(self, split: str) -> Source | None:
        from sslkit_sources.decode import Decoder
        from sslkit_sources.parquet import Columns, parquet

        files = self.files if split == "train" else self.test
        if files is None:
            return None
        columns = Columns(self.image_column, self.label_column, self.attributes, self.max_classes)
        decoder = Decoder(self.channels, self.convert, self.max_pixels)
        return parquet(files.expanduser(), columns, decoder, self.files.expanduser())
