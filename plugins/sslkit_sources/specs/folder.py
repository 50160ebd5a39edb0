"""Spec of the source of image files in a folder. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import AfterValidator, Field

from sslkit.plugin import Problem, SourceSpec
from sslkit_sources import listing
from sslkit_sources.specs.places import Paths, placed

if TYPE_CHECKING:
    from torch import Tensor

    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec


EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")


def _dotted(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value):
        raise ValueError("an extension is a text such as '.png', found ''")
    return tuple(f".{extension.lower().lstrip('.')}" for extension in value)


Extensions = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_dotted)]


@final
class Folder(SourceSpec):
    """Image files in a folder: class folders give the labels; loose files are unlabeled images."""

    unchecked: ClassVar[str] = "it reads a folder of images"
    kind: Literal["folder"] = "folder"
    root: Paths
    """Folder of class folders (images at any depth below them), or of images. Hidden names are skipped.

    Several make one split: classes of one name are one class. Images inside `test` are never trained on.
    """
    test: Paths | None = None
    """Folder of the test split, or several, with the same classes. Default: there is no test split."""
    channels: Literal[1, 3] = 3
    """Channels of every image."""
    convert: bool = True
    """Bring gray, palette, alpha and CMYK images to `channels`; false: such an image is an error."""
    max_pixels: int = Field(89_478_485, ge=1)
    """Pixels of an image at most, read from its header: past it, it is unreadable. Default: where PIL warns."""
    extensions: Extensions = EXTENSIONS
    """File names that count as images, by their end; upper and lower case are the same."""
    attributes: Path | None = None
    """CSV file of further labels, for `probing`: a column `path` (below `root`) and one for each attribute."""
    test_attributes: Path | None = None
    """The same for the test split, its paths below `test`. Default: `attributes` names those images too."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        for field, roots in (("root", self.root), ("test", self.test)):
            for path, root in placed(field, roots):
                message = listing.folder_problem(root, self.extensions) or listing.split_problem(root)
                if message:
                    yield Problem(path, message)
            message = listing.nested_problem([root for _, root in placed(field, roots)])
            if message:
                yield Problem(field, message)
        if run is not None and run.data is self:  # of others, an evaluator may read the test split alone
            message = listing.overlap_problem(self._where("train").roots, self._where("test").roots)
            if message:
                yield Problem("test", message)
        for field, table in (("attributes", self.attributes), ("test_attributes", self.test_attributes)):
            if table and not table.expanduser().is_file():
                yield Problem(field, f"{table}: no such file; expected a CSV file with a column 'path'")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        for field in ("test", "attributes"):
            if getattr(self, field) is None:
                yield Problem(
                    "test_attributes", f"has no effect without `{field}`; give that too, or leave this out"
                )

    def build(self, split: str) -> Source | None:
        from sslkit_sources.decode import Decoder
        from sslkit_sources.folder import FolderSource

        where = self._where(split)
        if not where.roots:
            return None
        listing.require_apart(where)
        classes = () if split == "train" else listing.class_names(self._where("train"))
        listed = listing.list_folder(where, classes)
        attributes = self._attributes(split, listed)
        return FolderSource(
            where.base, listed, Decoder(self.channels, self.convert, self.max_pixels), attributes
        )

    def _where(self, split: str) -> listing.Where:
        """The folders of `split`; none where there is no such split."""
        test = tuple(folder for _, folder in placed("test", self.test))
        if split != "train":
            return listing.Where(test, self.extensions)
        return listing.Where(tuple(folder for _, folder in placed("root", self.root)), self.extensions, test)

    def _attributes(self, split: str, listed: listing.Listing) -> dict[str, Tensor]:
        """Attributes of the images of `split`; their values are those of the training images."""
        from sslkit_sources.attributes import encode, names_of, read_csv

        if self.attributes is None:
            return {}
        train_csv = self.attributes.expanduser()
        test_csv = (self.test_attributes or self.attributes).expanduser()
        train = listed if split == "train" else listing.list_folder(self._where("train"))
        columns = read_csv(train_csv, train.files)
        names = {column: names_of(values) for column, values in columns.items()}
        if split != "train":
            columns = read_csv(test_csv, listed.files)
        return encode(columns, names, str(test_csv if split != "train" else train_csv))
