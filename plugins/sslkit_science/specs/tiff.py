"""Spec of the source of TIFF files. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import ListingColumns, Problem, Range, SourceSpec, SplitSpec
from sslkit_science.image_files import Kind
from sslkit_science.libraries import missing
from sslkit_science.specs.fields import (
    MAX_PIXELS,
    SAMPLES,
    Bands,
    Channels,
    Extensions,
    Share,
    Tile,
    build,
    listing_unused,
    problems,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec


@final
class TIFF(SourceSpec):
    """Images in TIFF files of any pixel type: pages, series, OME, ImageJ, GeoTIFF, whole slides."""

    unchecked: ClassVar[str] = missing("tifffile")
    kind: Literal["tiff"] = "tiff"
    root: Path
    """A file, or a folder of files at any depth."""
    test: Path | None = None
    """Files of the test split, in the same way. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the files at `root`, or from the images of the only one."""
    listing: Path | None = None
    """File that names the files below `root`, in place of all: CSV whose columns have labels, splits, groups and
    attributes, or a text file of a path on each line. All images of a file are of its row."""
    test_listing: Path | None = None
    """The same for the test split, its paths below `test`, or else `root`."""
    columns: ListingColumns = ListingColumns()
    """What the columns of `listing` are called."""
    label_folders: bool = True
    """Whether the folders right below `root` are classes."""
    range: Range = "auto"
    """Which values become 0 and 1, the pixels that `normalize` takes: `auto`, `type`, [low, high], a list of such
    pairs, one per channel, or {percentile: [low, high]} of the first images."""
    channels: Channels | None = None
    """Channels of every image; one is copied to as many. Default: as many as the first image has."""
    bands: Bands = ()
    """Which channels are read, by place from 0 or by the name that files give them, in this order. Default: all."""
    pages: Literal["images", "channels"] = "images"
    """What pages, and other axes than rows, columns and channels, are."""
    series: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """Which series of a file is read, such as the position of a microscope. Of a slide, 0 is the tissue."""
    level: int = Field(0, ge=0)
    """Of a pyramid; 0 is the full size."""
    tile: Tile | None = None
    """Side of the tiles that images are cut into, in pixels, read one by one. Default: images are whole."""
    empty: Share | None = 0.0
    """Tiles are left out where no channel's values differ by more than this share of the image's; with 0, constant
    ones, and about 0.2 leaves out the glass around stained tissue. null: every tile is read."""
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    """Pixels of an image, or of a tile of one, at most: past it, it is unreadable. Default: where PIL warns."""
    extensions: Extensions = (".tif", ".tiff", ".ome.tif", ".svs", ".ndpi", ".scn", ".btf", ".qptiff", ".lsm")
    """Ends of the names of files that are read, in any case; an empty one stands for names without an end."""

    @classmethod
    def example(cls) -> Self | None:
        return None if cls.unchecked else cls(root=SAMPLES / "phantoms.tif")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        return problems(self, self._kind)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from listing_unused(self)
        if self.tile is None:
            yield Problem("empty", "has no effect without `tile`; set that too, or leave this out")

    @property
    def _kind(self) -> Kind:
        return Kind("TIFF file", self.extensions, "tifffile")

    def build(self, split: str) -> Source | None:
        from sslkit_science.plane_source import Reading
        from sslkit_science.tiff_reader import Choice, TIFFReader

        reading = Reading(self.range, self.channels, self.bands, self.max_pixels, self.tile, self.empty)
        return build(
            self,
            split,
            self._kind,
            lambda: TIFFReader(Choice(self.pages, None if self.series == "all" else self.series, self.level)),
            reading,
        )
