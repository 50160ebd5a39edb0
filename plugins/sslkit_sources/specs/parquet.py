"""Spec of the source of parquet files. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field, model_validator

from sslkit.plugin import Alpha, Bands, Problem, Range, SourceSpec, SplitSpec, require_fitting
from sslkit_sources.parquet_files import parquet_problem, shared_problem
from sslkit_sources.specs.places import Paths, learns_from, placed

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec
    from sslkit_sources.parquet import ParquetSource


@final
class Parquet(SourceSpec):
    """Encoded images in the rows of parquet files, as on the Hugging Face hub."""

    unchecked: ClassVar[str] = "it reads parquet files of images"
    kind: Literal["parquet"] = "parquet"
    files: Paths
    """A file, a folder of `*.parquet` at any depth, a pattern such as `data/train-*.parquet`, or a list of such."""
    test: Paths | None = None
    """The test split, in the same way. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the images of `files`, by what they hold (`image`) or by `group`."""
    image_column: str = "image"
    """Column of the encoded images: binary, or a struct with a field `bytes`."""
    label_column: str | None = "label"
    """Column of the labels: integers from 0, or class names. null: the images have no labels."""
    group_column: str | None = None
    """Column of what `split: {by: group}` keeps together, such as a patient: whole numbers or text."""
    attributes: tuple[str, ...] = ()
    """Columns of further labels, for `probing`: whole numbers, truth values or text; empty cells are unknown."""
    order: Literal["whole", "groups"] = "whole"
    """`whole`: all encoded images are in memory and mixed. `groups`: each epoch mixes the images of `window` row groups
    at a time, and a process keeps no more of them."""
    window: int = Field(16, ge=1)
    """Row groups whose images are mixed with each other, with `order: groups`."""
    channels: int = Field(3, ge=1)
    """Channels of every image. 1 and 3: gray and color. Others: as many samples of a pixel, or pages, as files have."""
    convert: bool = True
    """Bring gray, palette, alpha and CMYK images to `channels`; false: such an image is an error."""
    bands: Bands | None = None
    """Which of a file's bands are the channels: places from 0 (samples of a pixel, then pages), or their names."""
    alpha: Alpha = "drop"
    """Transparency: its hidden color is kept (`drop`, as torchvision), white shows through (`composite`), or it is
    the last channel (`channel`), opaque where a file has none."""
    range: Range = "auto"
    """Which stored values become 0 and 1, by type, by numbers or by percentiles of the first images."""
    shrink: int | None = Field(None, ge=1)
    """Decode JPEG files at 1/2, 1/4 or 1/8 of their size where both sides keep so many pixels: quicker, other values.
    Twice the size of the crops is plenty. Default: whole."""
    max_pixels: int = Field(89_478_485, ge=1)
    """Pixels of an image at most, read from its header: past it, it is unreadable. Default: where PIL warns."""
    max_metadata: int = Field(1_048_576, ge=1)
    """Bytes of a text chunk or color profile of a PNG at most; past it, the image is unreadable. Default: PIL's."""
    max_classes: int = Field(100_000, ge=1)
    """Classes at most that integer labels may count up to; larger ones are hardly classes."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        require_fitting(self)
        if self.split is None:
            return self
        if self.test is not None:
            raise ValueError("`split` draws the test split from `files`, and `test` names one; leave one out")
        if self.split.by == "folder":
            raise ValueError("rows lie in no folder; write `split: {by: group}` and a `group_column`")
        if self.split.by == "group" and self.group_column is None:
            raise ValueError("`split` goes by group, so name the column of groups with `group_column`")
        return self

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        train, test = placed("files", self.files), placed("test", self.test)
        for field, files in [*train, *test]:
            message = parquet_problem(files)
            if message:
                yield Problem(field, message)
        if learns_from(run, self):
            message = shared_problem([files for _, files in train], [files for _, files in test])
            if message:
                yield Problem("test", message)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.group_column is not None and (self.split is None or self.split.by != "group"):
            yield Problem("group_column", "has no effect without `split: {by: group}`; leave it out")
        if self.order == "whole":
            yield Problem("window", "has no effect without `order: groups`; set that too, or leave this out")

    def build(self, split: str) -> Source | None:
        from sslkit.interfaces import settled_decoder

        source = self._read(split)
        if source is None:
            return None
        training = partial(self._training_images, source, split)
        source.decoder = settled_decoder(source.decoder, self.range, source, training)
        return source

    def _training_images(self, source: ParquetSource, split: str) -> ParquetSource:
        return (None if split == "train" else self._read("train")) or source

    def _read(self, split: str) -> ParquetSource | None:
        """The images of `split`; None where there is no such split."""
        from sslkit.interfaces import decoder_of
        from sslkit_sources.parquet import Columns, drawn_rows, parquet

        train, test = ([path for _, path in placed("", paths)] for paths in (self.files, self.test))
        files = train if split == "train" or self.split else test
        if not files:
            return None
        columns = Columns(
            self.image_column,
            self.label_column,
            self.attributes,
            self.max_classes,
            self.group_column,
            self.window if self.order == "groups" else None,
        )
        source = parquet(files, columns, decoder_of(self), train)
        return drawn_rows(source, self.split, split) if self.split else source
