"""Spec of the segmentation source. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field, model_validator

from sslkit.plugin import (
    Alpha,
    Bands,
    DataError,
    ListingColumns,
    ListingFile,
    Problem,
    Range,
    SourceSpec,
    SplitSpec,
    listed_files,
    require_fitting,
    test_split_conflict,
)
from sslkit_sources.class_folders import ClassFolders
from sslkit_sources.drawn_split import drawn
from sslkit_sources.listing import Listing, folder_problem
from sslkit_sources.mask_folders import EXTENSIONS, IMAGES, MASK_EXTENSIONS, MASKS
from sslkit_sources.specs.places import tables_missing, without_effect

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec
    from sslkit_sources.folder import FolderSource, Images
    from sslkit_sources.mask_regions import Regions
    from sslkit_sources.segmentation import SegmentationSource


@final
class Segmentation(SourceSpec):
    """Images with masks: `root/images/NAME.jpg` and `root/masks/NAME.png`, whose values tell what each pixel shows.

    Masks are gray or palette PNG files of their image's size; names may have folders in them. Without a `listing` there
    are no labels.
    """

    unchecked: ClassVar[str] = "it reads folders of images and masks"
    kind: Literal["segmentation"] = "segmentation"
    root: Path
    """Folder that holds the folders `images` and `masks`."""
    test: Path | None = None
    """Such a folder of the test split. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the images of `root`."""
    listing: Path | None = None
    """File that names the images, below `root/images`, in place of all: CSV with a header, whose columns have labels,
    splits, groups and attributes; or a text file of a path on each line."""
    test_listing: Path | None = None
    """The same for the test split, its paths below `images` of `test`, or else of `root`. Default: `listing` says which
    images are tests, in a column `split`, or `split` draws them."""
    columns: ListingColumns = ListingColumns()
    """What the columns of `listing` are called."""
    regions: Annotated[int, Field(ge=2, le=255)] | Path
    """What values mean: a text file with a name on each line, the first for value 0; or how many there are, which are
    then called by their numbers."""
    values: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=2)] | None = None
    """Value of each region in a mask, in the order of their names: `[0, 255]` for black and white masks. One that
    is `ignore_index` is counted all the same. Default: 0, 1, 2 and so on."""
    ignore_index: int = Field(255, ge=0, le=255)
    """Value of pixels that are not counted (VOC, Cityscapes: 255; for ADE20K, whose 0 is `other`: 0)."""
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

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        require_fitting(self)
        if conflict := test_split_conflict(self.split, self.test, self.listing, self.test_listing):
            raise ValueError(conflict)
        return self

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        roots = {"root": self.root} | ({} if self.test is None else {"test": self.test})
        for field, root in roots.items():
            for folder, ends in ((IMAGES, EXTENSIONS), (MASKS, MASK_EXTENSIONS)):
                message = folder_problem(root.expanduser() / folder, ends)
                if message:
                    yield Problem(field, message)
        yield from tables_missing({"listing": self.listing, "test_listing": self.test_listing})
        if isinstance(self.regions, Path) and not self.regions.expanduser().is_file():
            yield Problem(
                "regions", f"{self.regions}: no such file; expected a text file with a name on each line"
            )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        return without_effect(self, {"test_listing": ("listing",), "columns": ("listing",)})

    def build(self, split: str) -> Source | None:
        from sslkit.interfaces import settled_decoder

        source = self._read(split)
        if source is None:
            return None
        training = partial(self._training_images, source, split)
        source.images.decoder = settled_decoder(source.images.decoder, self.range, source.images, training)
        return source

    def _training_images(self, source: SegmentationSource, split: str) -> FolderSource:
        train = source if split == "train" else self._read("train")
        assert train is not None  # there is a `root`
        return train.images

    def _read(self, split: str) -> SegmentationSource | None:
        """The images of `split` with their masks; None where there is no such split."""
        from sslkit.interfaces import decoder_of
        from sslkit_sources.segmentation import SegmentationSource

        images = self._named(self.listing, split) if self.listing else self._in_folder(split)
        return None if images is None else SegmentationSource(images, self._meaning(), decoder_of(self))

    def _in_folder(self, split: str) -> Images | None:
        """All images in the folder of `split`, or those that are drawn from them."""
        from sslkit_sources.attributes import Coded
        from sslkit_sources.folder import Images
        from sslkit_sources.segmentation import list_images

        root = self.root if split == "train" or self.split is not None else self.test
        if root is None:
            return None
        folder = root.expanduser() / IMAGES
        listed = Listing(list_images(folder, EXTENSIONS), None, ())
        listed = drawn(listed, self.split, split, str(folder)) if self.split else listed
        return Images(folder, listed, Coded({}, {}))

    def _named(self, listing: Path, split: str) -> Images | None:
        """Those that a listing names."""
        from sslkit_sources.folder import as_images

        roots = [root.expanduser() / IMAGES for root in (self.root, self.test or self.root)]
        train = ListingFile(listing.expanduser(), roots[0])
        test = ListingFile(self.test_listing.expanduser(), roots[1]) if self.test_listing else None
        rules = ClassFolders(self.split, labeled=False)
        files = listed_files(train, test, self.columns, self.split, split, rules)
        return None if files is None else as_images(files)

    def _meaning(self) -> Regions:
        """Of the values of masks. Raises DataError where they are not as many as the names."""
        from sslkit_sources.mask_regions import Regions, names_in

        names = (
            names_in(self.regions) if isinstance(self.regions, Path) else tuple(map(str, range(self.regions)))
        )
        values = self.values or ()
        if values and not len(values) == len(set(values)) == len(names):
            raise DataError(
                f"values: names {len(values)} values, {len(set(values))} of them different, for {len(names)} regions; "
                "give each region one of its own"
            )
        return Regions(names, None if self.ignore_index in values else self.ignore_index, values)
