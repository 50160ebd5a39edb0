"""Specs of sources of images with captions. Each takes any source of images and says where captions are. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import AfterValidator, Field

from sslkit.plugin import Problem, SourceField, SourceSpec, Stream

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec

STREAMS: Mapping[str, Stream] = {"image": Stream(), "caption": Stream("text", 1)}


def _one_place(template: str) -> str:
    if template.count("{}") != 1:
        raise ValueError("a template has one `{}`, for the name of the class")
    return template


Template = Annotated[str, AfterValidator(_one_place)]
"""A text with `{}` where the name of a class goes."""


@final
class ClassCaptions(SourceSpec):
    """Captions made of the labels of images by templates: a test bed, as they say no more than the labels."""

    kind: Literal["class_captions"] = "class_captions"
    images: SourceField
    """Images with labels."""
    templates: tuple[Template, ...] = Field(("a photo of a {}.",), min_length=1)
    """Texts with `{}` where the class goes; an image has one caption of each (CLIP: 80 for ImageNet)."""
    names: Mapping[str, str] = {}
    """Words for classes, by name. Default: the name itself."""

    @classmethod
    def example(cls) -> Self:
        return cls.model_validate({"images": {"kind": "digits"}})

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def build(self, split: str) -> Source | None:
        from sslkit_text.caption_places import from_labels
        from sslkit_text.captioned_source import CaptionedSource

        images = self.images.build(split)
        return (
            None
            if images is None
            else CaptionedSource(images, from_labels(images, self.templates, self.names))
        )


@final
class CaptionTable(SourceSpec):
    """Captions in a CSV file of image files and texts; several rows of one image are several captions."""

    unchecked: ClassVar[str] = "it reads files"
    kind: Literal["caption_table"] = "caption_table"
    images: SourceField
    """Images whose names the table has, such as `{kind: folder, root: photos}`."""
    table: Path
    """CSV file, or tab-separated where it ends in `.tsv`, with a line of column names first."""
    test_table: Path | None = None
    """That of the test split. Default: `table`."""
    image_column: str = "path"
    """Column of image files, as the source of images names them: below its folder."""
    caption_column: str = "caption"
    """Column of texts."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The tables exist."""
        for field in ("table", "test_table"):
            path = getattr(self, field)
            if path is not None and not path.expanduser().is_file():
                yield Problem(field, f"there is no file {str(path)!r}")

    def build(self, split: str) -> Source | None:
        from sslkit_text.caption_places import from_table
        from sslkit_text.captioned_source import CaptionedSource

        images = self.images.build(split)
        if images is None:
            return None
        table = self.test_table if split == "test" and self.test_table is not None else self.table
        captions = from_table(images, table.expanduser(), self.image_column, self.caption_column)
        return CaptionedSource(images, captions)


@final
class CaptionFiles(SourceSpec):
    """Captions in a text file beside each image, or in a member of each sample of tar shards; one a line."""

    unchecked: ClassVar[str] = "it reads files"
    kind: Literal["caption_files"] = "caption_files"
    images: SourceField
    """Images, such as `{kind: folder, root: photos}` or `{kind: webdataset, shards: ...}` of sslkit-shards."""
    root: Path | None = None
    """Folder that the names of images start from: that of the source. Default: the samples of shards have the texts."""
    test_root: Path | None = None
    """That of the test split. Default: `root`."""
    ending: str = ".txt"
    """Ending of text files, in place of the image's; of members of a sample, without the dot."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The folders exist, and those of two splits are not taken for one."""
        for field in ("root", "test_root"):
            path = getattr(self, field)
            if path is not None and not path.expanduser().is_dir():
                yield Problem(field, f"there is no folder {str(path)!r}")
        test = getattr(self.images, "test", None)
        if self.root is not None and self.test_root is None and test is not None:
            text = (
                f"is missing: the test images are in {test}, and their captions would be looked for in `root`"
            )
            yield Problem("test_root", f"{text}; name the folder of their captions")

    def build(self, split: str) -> Source | None:
        from sslkit_text.caption_places import BesideImages
        from sslkit_text.captioned_source import CaptionedSource

        images = self.images.build(split)
        if images is None:
            return None
        root = self.test_root if split == "test" and self.test_root is not None else self.root
        where = None if root is None else root.expanduser()
        return CaptionedSource(images, BesideImages(images, where, self.ending))


@final
class CaptionColumn(SourceSpec):
    """Captions in a column of the parquet files that hold the images; a list of texts is several captions."""

    unchecked: ClassVar[str] = "it reads files"
    kind: Literal["caption_column"] = "caption_column"
    images: SourceField
    """Images of parquet files: `{kind: parquet, ...}`."""
    column: str = "caption"
    """Column of texts, or of lists of texts."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def build(self, split: str) -> Source | None:
        from sslkit_text.caption_places import ColumnOfFiles
        from sslkit_text.captioned_source import CaptionedSource

        images = self.images.build(split)
        return None if images is None else CaptionedSource(images, ColumnOfFiles(images, self.column).all())
