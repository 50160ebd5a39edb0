"""Specs of the sources of arrays. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import ListingColumns, Problem, Range, SourceSpec, SplitSpec
from sslkit_science.image_files import Kind
from sslkit_science.libraries import missing
from sslkit_science.specs.fields import (
    MAX_BYTES,
    MAX_PIXELS,
    SAMPLES,
    Axes,
    Bands,
    Bytes,
    Channels,
    Extensions,
    Share,
    Tile,
    band_problems,
    build,
    listing_unused,
    problems,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec


@final
class Zarr(SourceSpec):
    """Arrays in Zarr stores of format 2 or 3, and images of OME-Zarr, read chunk by chunk."""

    unchecked: ClassVar[str] = missing("zarr")
    kind: Literal["zarr"] = "zarr"
    root: Path
    """A store, or a folder of stores at any depth."""
    test: Path | None = None
    """Stores of the test split, in the same way. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the files at `root`, or from the images of the only one."""
    listing: Path | None = None
    """File that names the files below `root`, in place of all: CSV whose columns have labels, splits, groups and
    attributes, or a text file of a path on each line. All images of a file are of its row."""
    test_listing: Path | None = None
    """The same for the test split, its paths below `test`, or else `root`."""
    columns: ListingColumns = ListingColumns()
    """What the columns of `listing` are called."""
    label_folders: bool = False
    """Whether the folders right below `root` are classes."""
    range: Range = "auto"
    """Which values become 0 and 1, the pixels that `normalize` takes: `auto`, `type`, [low, high], a list of such
    pairs, one per channel, or {percentile: [low, high]} of the first images."""
    channels: Channels | None = None
    """Channels of every image; one is copied to as many. Default: as many as the first image has."""
    bands: Bands = ()
    """Which channels are read, by place from 0 or by the name that files give them, in this order. Default: all."""
    array: str | None = None
    """Path of the array inside each store. Default: the image of OME-Zarr, or else the only array."""
    axes: Axes | None = None
    """A capital letter for each axis: Y rows, X columns, C channels, any other what counts images, as in NCYX; H, W and
    S stand for Y, X and C. Default: as OME-Zarr says; two axes are rows and columns."""
    level: int = Field(0, ge=0)
    """Of an image of OME-Zarr; 0 is the full size."""
    tile: Tile | None = None
    """Side of the tiles that images are cut into, in pixels, read one by one. Default: images are whole."""
    empty: Share | None = 0.0
    """Tiles are left out where no channel's values differ by more than this share of the image's; with 0, constant
    ones, and about 0.2 leaves out the glass around stained tissue. null: every tile is read."""
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    """Pixels of an image, or of a tile of one, at most: past it, it is unreadable. Default: where PIL warns."""
    extensions: Extensions = (".zarr",)
    """Ends of the names of files that are read, in any case; an empty one stands for names without an end."""

    @classmethod
    def example(cls) -> Self | None:
        return None if cls.unchecked else cls(root=SAMPLES / "phantoms.zarr", axes="NYX")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        return problems(self, self._kind)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from listing_unused(self)
        if self.tile is None:
            yield Problem("empty", "has no effect without `tile`; set that too, or leave this out")

    @property
    def _kind(self) -> Kind:
        return Kind("Zarr store", self.extensions, "zarr", folders=True)

    def build(self, split: str) -> Source | None:
        from sslkit_science.plane_source import Reading
        from sslkit_science.zarr_reader import ZarrReader

        reading = Reading(self.range, self.channels, self.bands, self.max_pixels, self.tile, self.empty)
        return build(self, split, self._kind, lambda: ZarrReader(self.array, self.axes, self.level), reading)


@final
class HDF5(SourceSpec):
    """The images of one data set of each HDF5 file."""

    unchecked: ClassVar[str] = missing("h5py")
    kind: Literal["hdf5"] = "hdf5"
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
    label_folders: bool = False
    """Whether the folders right below `root` are classes."""
    range: Range = "auto"
    """Which values become 0 and 1, the pixels that `normalize` takes: `auto`, `type`, [low, high], a list of such
    pairs, one per channel, or {percentile: [low, high]} of the first images."""
    channels: Channels | None = None
    """Channels of every image; one is copied to as many. Default: as many as the first image has."""
    bands: Bands = ()
    """Which channels are read, counted from 0, in this order. Default: all."""
    dataset: str | None = None
    """Path of the data set inside each file. Default: the only one with two axes or more."""
    labels: str | None = None
    """Path of a data set with a whole number from 0, or a text, for each image. Default: there are none."""
    axes: Axes | None = None
    """A capital letter for each axis: Y rows, X columns, C channels, any other what counts images, as in NCYX; H, W and
    S stand for Y, X and C. Default: two axes are rows and columns; more need names."""
    tile: Tile | None = None
    """Side of the tiles that images are cut into, in pixels, read one by one. Default: images are whole."""
    empty: Share | None = 0.0
    """Tiles are left out where no channel's values differ by more than this share of the image's; with 0, constant
    ones, and about 0.2 leaves out the glass around stained tissue. null: every tile is read."""
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    """Pixels of an image, or of a tile of one, at most: past it, it is unreadable. Default: where PIL warns."""
    extensions: Extensions = (".h5", ".hdf5", ".hdf", ".he5")
    """Ends of the names of files that are read, in any case; an empty one stands for names without an end."""

    @classmethod
    def example(cls) -> Self | None:
        return None if cls.unchecked else cls(root=SAMPLES / "phantoms.h5", axes="NYX", labels="label")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from problems(self, self._kind)
        yield from band_problems(self.bands, self._kind)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from listing_unused(self)
        if self.tile is None:
            yield Problem("empty", "has no effect without `tile`; set that too, or leave this out")

    @property
    def _kind(self) -> Kind:
        return Kind("HDF5 file", self.extensions, "h5py")

    def build(self, split: str) -> Source | None:
        from sslkit_science.hdf5_reader import HDF5Reader
        from sslkit_science.plane_source import Reading

        reading = Reading(self.range, self.channels, self.bands, self.max_pixels, self.tile, self.empty)
        return build(
            self, split, self._kind, lambda: HDF5Reader(self.dataset, self.axes, self.labels), reading
        )


@final
class NumPy(SourceSpec):
    """The images of NumPy files: `.npy`, of which only what is asked for is read, and arrays of `.npz`."""

    kind: Literal["npy"] = "npy"
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
    """Which channels are read, counted from 0, in this order. Default: all."""
    array: str | None = None
    """Name of the array in `.npz` files. Default: the only one beside `labels`."""
    labels: str | None = None
    """Name of an array of `.npz` files with a whole number from 0, or a text, for each image. Default: none."""
    axes: Axes | None = None
    """A capital letter for each axis: Y rows, X columns, C channels, any other what counts images, as in NCYX; H, W and
    S stand for Y, X and C. Default: two axes are rows and columns; more need names."""
    tile: Tile | None = None
    """Side of the tiles that images are cut into, in pixels, read one by one. Default: images are whole."""
    empty: Share | None = 0.0
    """Tiles are left out where no channel's values differ by more than this share of the image's; with 0, constant
    ones, and about 0.2 leaves out the glass around stained tissue. null: every tile is read."""
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    """Pixels of an image, or of a tile of one, at most: past it, it is unreadable. Default: where PIL warns."""
    max_bytes: Bytes = MAX_BYTES
    """Bytes of an array of an `.npz` file, which is read whole, at most. Default: 4 GiB."""
    extensions: Extensions = (".npy", ".npz")
    """Ends of the names of files that are read, in any case; an empty one stands for names without an end."""

    @classmethod
    def example(cls) -> Self | None:
        return cls(root=SAMPLES / "phantoms.npy", axes="NYX")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from problems(self, self._kind)
        yield from band_problems(self.bands, self._kind)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from listing_unused(self)
        if self.tile is None:
            yield Problem("empty", "has no effect without `tile`; set that too, or leave this out")

    @property
    def _kind(self) -> Kind:
        return Kind("NumPy file", self.extensions, "numpy")

    def build(self, split: str) -> Source | None:
        from sslkit_science.npy_reader import NumPyReader
        from sslkit_science.plane_source import Reading

        reading = Reading(self.range, self.channels, self.bands, self.max_pixels, self.tile, self.empty)
        return build(
            self,
            split,
            self._kind,
            lambda: NumPyReader(self.array, self.axes, self.labels, self.max_bytes),
            reading,
        )
