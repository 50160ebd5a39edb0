"""Spec of the segmentation source. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field, model_validator

from sslkit.plugin import DataError, Problem, SourceSpec, SplitSpec
from sslkit_sources import listing
from sslkit_sources.drawn_split import drawn
from sslkit_sources.mask_folders import EXTENSIONS, IMAGES, MASK_EXTENSIONS, MASKS

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec


@final
class Segmentation(SourceSpec):
    """Images with masks: `root/images/NAME.jpg` and `root/masks/NAME.png`, whose values tell what each pixel shows.

    Masks are gray or palette PNG files of their image's size; names may have folders in them. There are no labels.
    """

    unchecked: ClassVar[str] = "it reads folders of images and masks"
    kind: Literal["segmentation"] = "segmentation"
    root: Path
    """Folder that holds the folders `images` and `masks`."""
    test: Path | None = None
    """Such a folder of the test split. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the images of `root`."""
    regions: Annotated[int, Field(ge=2, le=255)] | Path
    """What values mean: a text file with a name on each line, the first for value 0; or how many there are, which are
    then called by their numbers."""
    values: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=2)] | None = None
    """Value of each region in a mask, in the order of their names: `[0, 255]` for black and white masks. One that
    is `ignore_index` is counted all the same. Default: 0, 1, 2 and so on."""
    ignore_index: int = Field(255, ge=0, le=255)
    """Value of pixels that are not counted (VOC, Cityscapes: 255; for ADE20K, whose 0 is `other`: 0)."""
    channels: Literal[1, 3] = 3
    """Channels of every image."""
    convert: bool = True
    """Bring gray, palette, alpha and CMYK images to `channels`; false: such an image is an error."""
    max_pixels: int = Field(89_478_485, ge=1)
    """Pixels of an image at most, read from its header: past it, it is unreadable. Default: where PIL warns."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.split is not None and self.test is not None:
            raise ValueError("`split` draws the test split from `root`, and `test` names one; leave one out")
        return self

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        roots = {"root": self.root} | ({} if self.test is None else {"test": self.test})
        for field, root in roots.items():
            for folder, ends in ((IMAGES, EXTENSIONS), (MASKS, MASK_EXTENSIONS)):
                message = listing.folder_problem(root.expanduser() / folder, ends)
                if message:
                    yield Problem(field, message)
        if isinstance(self.regions, Path) and not self.regions.expanduser().is_file():
            yield Problem(
                "regions", f"{self.regions}: no such file; expected a text file with a name on each line"
            )

    def build(self, split: str) -> Source | None:
        from sslkit_sources.decode import Decoder
        from sslkit_sources.mask_regions import Regions, names_in
        from sslkit_sources.segmentation import SegmentationSource

        root = self.root if split == "train" or self.split is not None else self.test
        if root is None:
            return None
        names = (
            names_in(self.regions) if isinstance(self.regions, Path) else tuple(map(str, range(self.regions)))
        )
        values = self.values or ()
        if values and not len(values) == len(set(values)) == len(names):
            raise DataError(
                f"values: names {len(values)} values, {len(set(values))} of them different, for {len(names)} regions; "
                "give each region one of its own"
            )
        ignored = None if self.ignore_index in values else self.ignore_index
        regions = Regions(names, ignored, values)
        decoder = Decoder(self.channels, self.convert, self.max_pixels)
        where = str(root.expanduser() / IMAGES)
        part = partial(drawn, draw=self.split, split=split, where=where) if self.split else None
        return SegmentationSource(root.expanduser(), regions, decoder, part)
