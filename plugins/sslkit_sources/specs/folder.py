"""Spec of the source of image files in a folder. Torch-free."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import AfterValidator, Field, model_validator

from sslkit.plugin import (
    Alpha,
    Bands,
    ListedFiles,
    ListingColumns,
    ListingFile,
    Problem,
    Range,
    SourceSpec,
    SplitSpec,
    SslkitWarning,
    listed_files,
    names_of,
    readable_endings,
    require_fitting,
    test_split_conflict,
)
from sslkit_sources.class_folders import ClassFolders
from sslkit_sources.drawn_split import drawn
from sslkit_sources.listing import (
    Listing,
    Where,
    class_names,
    folder_problem,
    list_folder,
    nested_problem,
    overlap_problem,
    require_apart,
    split_problem,
)
from sslkit_sources.specs.places import Paths, learns_from, placed, tables_missing, without_effect

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec
    from sslkit_sources.attributes import Coded
    from sslkit_sources.folder import FolderSource, Images


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
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the images of `root`."""
    listing: Path | None = None
    """File that names the images, below `root`, in place of all: CSV with a header, whose columns have labels, splits,
    groups and attributes; or a text file of a path on each line, where class folders give the labels."""
    test_listing: Path | None = None
    """The same for the test split, its paths below `test`, or else `root`. Default: `listing` says which images are
    tests, in a column `split`, or `split` draws them."""
    columns: ListingColumns = ListingColumns()
    """What the columns of `listing` are called."""
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
    extensions: Extensions | None = None
    """File names that count as images, by their end; upper and lower case are the same. Default: every raster format
    that PIL and its installed plugins decode."""
    attributes: Path | None = None
    """CSV file of further labels, for `probing`: a column `path` (below `root`) and one for each attribute."""
    test_attributes: Path | None = None
    """The same for the test split, its paths below `test`. Default: `attributes` names those images too."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        require_fitting(self)
        if conflict := test_split_conflict(self.split, self.test, self.listing, self.test_listing):
            raise ValueError(conflict)
        if self.listing is not None and (other := self._named(("attributes", "extensions"))):
            raise ValueError(
                f"`{other}` has no effect with `listing`, whose rows and columns say it; leave one out"
            )
        if self.listing is not None and max(len(placed("", self.root)), len(placed("", self.test))) > 1:
            raise ValueError("paths of a `listing` are below one folder; name one that all of them lie in")
        return self

    def _named(self, fields: Iterable[str]) -> str | None:
        """The first of `fields` that is set."""
        return next((field for field in fields if getattr(self, field) is not None), None)

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        files = {"listing": self.listing, "test_listing": self.test_listing}
        files |= {"attributes": self.attributes, "test_attributes": self.test_attributes}
        yield from tables_missing(files)
        for field, roots in (("root", self.root), ("test", self.test)):
            for path, root in placed(field, roots):
                message = folder_problem(root, self._endings()) or (
                    None if self.listing else split_problem(root)
                )
                if message:
                    yield Problem(path, message)
            message = nested_problem([root for _, root in placed(field, roots)])
            if message:
                yield Problem(field, message)
        if learns_from(run, self) and self.split is None and self.listing is None:
            message = overlap_problem(self._where("train").roots, self._where("test").roots)
            if message:
                yield Problem("test", message)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        needs = {
            "test_attributes": ("test", "attributes"),
            "test_listing": ("listing",),
            "columns": ("listing",),
        }
        return without_effect(self, needs)

    def build(self, split: str) -> Source | None:
        from sslkit.interfaces import decoder_of, settled_decoder
        from sslkit_sources.folder import FolderSource

        images = self._images(split)
        if images is None:
            return None
        source = FolderSource(images.root, images.listed, decoder_of(self), images.attributes)
        source.decoder = settled_decoder(
            source.decoder, self.range, source, partial(self._training_images, source, split)
        )
        return source

    def _images(self, split: str) -> Images | None:
        """What `split` consists of; None where there is no such split."""
        from sslkit_sources.folder import as_images

        if self.listing is None:
            return self._in_folders(split)
        files = self._listed(self.listing, split)
        return None if files is None else as_images(files)

    def _listed(self, listing: Path, split: str) -> ListedFiles | None:
        """The files of `split` that a listing names."""
        ((_, root),) = placed("root", self.root)
        others = [folder for _, folder in placed("test", self.test)] or [root]
        test = None if self.test_listing is None else ListingFile(self.test_listing.expanduser(), others[0])
        train = ListingFile(listing.expanduser(), root)
        return listed_files(train, test, self.columns, self.split, split, ClassFolders(self.split))

    def _in_folders(self, split: str) -> Images | None:
        from sslkit_sources.folder import Images

        where = self._where(split)
        if not where.roots:
            return None
        require_apart(where)
        whole = self._whole(split)
        listed = drawn(whole, self.split, split, str(where.base)) if self.split else whole
        for message in () if self.extensions else whole.notes:
            warnings.warn(message, SslkitWarning, stacklevel=2)
        return Images(where.base, listed, self._attributes(split, listed))

    def _whole(self, split: str) -> Listing:
        """The images in the folders of `split`."""
        other = split != "train" and self.split is None
        return list_folder(self._where(split), class_names(self._where("train")) if other else ())

    def _where(self, split: str) -> Where:
        """The folders of `split`; none where there is no such split."""
        test = tuple(folder for _, folder in placed("test", self.test))
        if split != "train" and self.split is None:
            return Where(test, self._endings())
        return Where(tuple(folder for _, folder in placed("root", self.root)), self._endings(), test)

    def _endings(self) -> tuple[str, ...]:
        return ("",) if self.listing else self.extensions or readable_endings()

    def _training_images(self, source: FolderSource, split: str) -> FolderSource:
        from sslkit_sources.folder import FolderSource

        images = None if split == "train" else self._images("train")
        return FolderSource(images.root, images.listed, source.decoder) if images else source

    def _attributes(self, split: str, listed: Listing) -> Coded:
        """Attributes of the images of `split`; their values are those of `_whole("train")`."""
        from sslkit_sources.attributes import Coded, coded, read_csv

        if self.attributes is None:
            return Coded({}, {})
        train_csv = self.attributes.expanduser()
        test_csv = (self.test_attributes or self.attributes).expanduser()
        train = listed if split == "train" and self.split is None else self._whole("train")
        columns = read_csv(train_csv, train.files)
        names = {column: names_of(values) for column, values in columns.items()}
        if train is not listed:
            columns = read_csv(test_csv, listed.files)
        return coded(columns, names, str(test_csv if split != "train" else train_csv))
