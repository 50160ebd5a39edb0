"""Specs of the sources of medical images. Torch-free."""

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
    Bands,
    Bytes,
    Channels,
    Extensions,
    Percent,
    band_problems,
    build,
    listing_unused,
    problems,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec


@final
class DICOM(SourceSpec):
    """Images in DICOM files: one for each frame, in the units that the file says, slices of a series in their order."""

    unchecked: ClassVar[str] = missing("pydicom")
    kind: Literal["dicom"] = "dicom"
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
    window: bool = False
    """Whether the first window in each file says what becomes 0 and 1, in place of `range`."""
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    """Pixels of an image at most: past it, it is unreadable. Default: where PIL warns."""
    extensions: Extensions = (".dcm", ".dicom", ".ima", "")
    """Ends of the names of files that are read, in any case; an empty one stands for names without an end."""

    @classmethod
    def example(cls) -> Self | None:
        return None if cls.unchecked else cls(root=SAMPLES / "phantoms.dcm")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        return problems(self, self._kind)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from listing_unused(self)
        if self.window:
            yield Problem("range", "has no effect with `window: true`; leave one of them out")

    @property
    def _kind(self) -> Kind:
        return Kind("DICOM file", self.extensions, "pydicom")

    def build(self, split: str) -> Source | None:
        from sslkit_science.dicom_reader import DICOMReader
        from sslkit_science.plane_source import Reading

        reading = Reading(self.range, self.channels, max_pixels=self.max_pixels)
        return build(self, split, self._kind, lambda: DICOMReader(self.window), reading)


@final
class NIfTI(SourceSpec):
    """Slices of the volumes in NIfTI files, standing as on a radiologist's screen."""

    unchecked: ClassVar[str] = missing("nibabel")
    kind: Literal["nifti"] = "nifti"
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
    axis: Literal["axial", "coronal", "sagittal", 0, 1, 2] = "axial"
    """Where volumes are cut, by the affine of the file; or across which axis of the array, as it is stored."""
    volumes: Literal["images", "channels"] = "images"
    """What the fourth axis is: volumes of their own, or channels of one, such as the sequences of a scanner."""
    volume_percentile: tuple[Percent, Percent] | None = None
    """In place of `range`: percentiles of each volume that become 0 and 1, as values of MRI have no unit."""
    max_bytes: Bytes = MAX_BYTES
    """Bytes of a compressed volume once decompressed, at most. Default: 4 GiB."""
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    """Pixels of an image at most: past it, it is unreadable. Default: where PIL warns."""
    extensions: Extensions = (".nii", ".nii.gz")
    """Ends of the names of files that are read, in any case; an empty one stands for names without an end."""

    @classmethod
    def example(cls) -> Self | None:
        return None if cls.unchecked else cls(root=SAMPLES / "phantoms.nii")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from problems(self, self._kind)
        yield from band_problems(self.bands, self._kind)
        if self.volume_percentile and not self.volume_percentile[0] < self.volume_percentile[1]:
            yield Problem("volume_percentile", "must be [low, high], with low below high")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from listing_unused(self)
        if self.volume_percentile is not None:
            yield Problem("range", "has no effect with `volume_percentile`; leave one of them out")

    @property
    def _kind(self) -> Kind:
        return Kind("NIfTI file", self.extensions, "nibabel")

    def build(self, split: str) -> Source | None:
        from sslkit_science.nifti_reader import Cut, NIfTIReader
        from sslkit_science.plane_source import Reading

        reading = Reading(self.range, self.channels, self.bands, self.max_pixels)
        return build(
            self,
            split,
            self._kind,
            lambda: NIfTIReader(Cut(str(self.axis), self.volumes, self.volume_percentile, self.max_bytes)),
            reading,
        )
