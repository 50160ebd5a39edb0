"""Spec of the source of Hugging Face data sets. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field, model_validator

from sslkit.plugin import Alpha, Bands, Problem, Range, SourceSpec, SplitSpec, require_fitting

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec
    from sslkit_shards.hf_source import HFSource

MISSING = "`kind: hf` needs the package datasets, which is not installed: pip install 'sslkit-shards[hf]'"
ON_THE_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")

Text = Annotated[str, Field(min_length=1)]


@final
class HuggingFace(SourceSpec):
    """Images of a data set of the package `datasets`. Rows are memory-mapped and read by their place."""

    unchecked: ClassVar[str] = "it reads data sets of the package datasets"
    kind: Literal["hf"] = "hf"
    path: Text
    """A folder that `save_to_disk` wrote, a folder that `load_dataset` reads, or a name on the hub such as
    `owner/name`, which is downloaded once."""
    config: Text | None = None
    """Name of the configuration, for data sets with several."""
    revision: Text | None = None
    """Branch, tag or commit on the hub. Name a commit where the data set may change."""
    train: Text = "train"
    """Name of the training split; slices such as `train[:90%]` where `load_dataset` reads the data set."""
    test: Text | None = None
    """Name of the test split. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the rows of `train`, by what images hold (`image`) or by `group`."""
    image_column: str = "image"
    """Column of the images: a feature `Image`, `Array2D` or `Array3D`, or encoded images as binary."""
    label_column: str | None = "label"
    """Column of the labels: a feature `ClassLabel`, integers from 0, or class names. null: the images have no
    labels."""
    group_column: str | None = None
    """Column of what `split: {by: group}` keeps together, such as a patient: whole numbers or text."""
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
        if self.test == self.train:
            raise ValueError("`test` is the split that is trained on; name another, or draw one with `split`")
        if self.split is None:
            return self
        if self.test is not None:
            raise ValueError("`split` draws the test split from `train`, and `test` names one; leave one out")
        if self.split.by == "folder":
            raise ValueError("rows lie in no folder; write `split: {by: group}` and a `group_column`")
        if self.split.by == "group" and self.group_column is None:
            raise ValueError("`split` goes by group, so name the column of groups with `group_column`")
        return self

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if find_spec("datasets") is None:
            yield Problem("", MISSING)
        if not ON_THE_HUB.fullmatch(self.path) and not Path(self.path).expanduser().is_dir():
            yield Problem(
                "path",
                f"{self.path}: no such folder; expected a folder, or owner/name of a data set on the hub",
            )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.group_column is not None and (self.split is None or self.split.by != "group"):
            yield Problem("group_column", "has no effect without `split: {by: group}`; leave it out")

    def build(self, split: str) -> Source | None:
        from sslkit.plugin import DataError

        if find_spec("datasets") is None:
            raise DataError(MISSING)
        if split != "train" and self.test is None and self.split is None:
            return None
        train = self._source(self.train)
        source = self._of_split(train, split)
        source.decoder = source.images.settled(source, self.range, partial(self._of_split, train, "train"))
        return source

    def _of_split(self, train: HFSource, split: str) -> HFSource:
        """The images of `split`, where `train` are all of the training split."""
        from sslkit_shards.hf_source import drawn_rows

        if self.split is not None:
            return drawn_rows(train, self.split, split)
        return train if split == "train" or self.test is None else self._source(self.test, train)

    def _source(self, split: str, train: HFSource | None = None) -> HFSource:
        from sslkit.interfaces import decoder_of
        from sslkit_shards.hf_datasets import Place
        from sslkit_shards.hf_source import Columns, HFSource

        columns = Columns(self.image_column, self.label_column, self.group_column, self.max_classes)
        return HFSource(Place(self.path, split, self.config, self.revision), columns, decoder_of(self), train)
