"""DICOM through pydicom: one image a frame, in the units that the file says, slices of a series in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np

from sslkit.plugin import DataError, require_regular
from sslkit_science.layout import Window
from sslkit_science.libraries import library
from sslkit_science.reader import Pixels, Plane, Reader, decoding

if TYPE_CHECKING:
    from pydicom import Dataset

COLOR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR"})
"""Photometric interpretations of three channels; pydicom gives all of them as RGB."""


class Rescale(NamedTuple):
    """From stored values to units such as Hounsfield's."""

    slope: float
    intercept: float


@final
class DICOMReader(Reader):
    """Frames, rescaled; MONOCHROME1 is inverted once its range is mapped."""

    together = "slices and frames of one patient"

    def __init__(self, window: bool) -> None:
        """`window`: whether each image has the range that its file asks to be shown."""
        library("pydicom")
        self.window = window
        self.settings = (window,)

    def planes(self, path: Path) -> list[Plane]:
        with decoding(path):
            file = self._header(path)
            if "Rows" not in file or "BitsAllocated" not in file:
                return []  # reports, structures, plans, and the list of a disk
            return list(self._frames(file, path))

    def read(self, path: Path, plane: Plane, window: Window) -> Pixels:
        (frame,) = plane.place
        with decoding(path, plane.name):
            pixels = library("pydicom.pixels").pixel_array(path, index=frame)
            file = self._header(path)
            if file.PhotometricInterpretation == "PALETTE COLOR":
                pixels = library("pydicom.pixels").apply_color_lut(pixels, file)
            elif "ModalityLUTSequence" in file:
                pixels = library("pydicom.pixels").apply_modality_lut(pixels, file)
            elif plane.channels == 1:
                pixels = _rescaled(pixels, rescale_of(file, frame))
            rows, columns = (
                slice(window.y, window.y + window.height),
                slice(window.x, window.x + window.width),
            )
            arranged: Pixels = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
            return arranged[:, rows, columns]

    def group(self, path: Path) -> str:
        """The patient. A file that cannot be read is one of its own."""
        try:
            with decoding(path):
                patient = str(self._header(path).get("PatientID") or "")
        except DataError:  # counted as unreadable when its turn comes
            return str(path)
        if not patient:
            raise DataError(
                f"{path}: has no patient (PatientID); write `by: folder` or `by: image` in `split`"
            )
        return patient

    def _header(self, path: Path) -> Dataset:
        require_regular(path)
        return library("pydicom").dcmread(path, stop_before_pixels=True)

    def _frames(self, file: Dataset, path: Path) -> Iterator[Plane]:
        frames = int(file.get("NumberOfFrames") or 1)
        channels = 3 if file.PhotometricInterpretation in COLOR else 1
        shape = (channels, int(file.Rows), int(file.Columns))
        for frame in range(frames):
            yield Plane(
                (frame,),
                f"frame {frame}" * (frames > 1),
                *shape,
                limits=limits_of(file, frame) if channels == 1 else None,
                shown=window_of(file, frame, path) if self.window and channels == 1 else None,
                inverted=file.PhotometricInterpretation == "MONOCHROME1",
                order=order_of(file, path),
            )


def order_of(file: Dataset, path: Path) -> tuple[str | float, ...]:
    """By folder, series, place along the normal of its slices, and number."""
    try:
        row, column = np.array(file.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
        place = float(np.cross(row, column) @ np.array(file.ImagePositionPatient, dtype=np.float64))
    except (AttributeError, TypeError, ValueError):  # no slice of a body
        place = 0.0
    number = float(file.get("InstanceNumber") or 0)
    return str(path.parent), str(file.get("SeriesInstanceUID") or ""), round(place, 4), number


def rescale_of(file: Dataset, frame: int) -> Rescale:
    """Slope and intercept of a frame: its own, those of all frames, or the file's."""
    group = _group(file, frame, "PixelValueTransformationSequence")
    return Rescale(float(group.get("RescaleSlope", 1) or 1), float(group.get("RescaleIntercept", 0) or 0))


def limits_of(file: Dataset, frame: int) -> tuple[float, float] | None:
    """The values that a frame can hold, of its stored bits; None where it holds floats or is looked up in a table."""
    if "ModalityLUTSequence" in file or "BitsStored" not in file or file.BitsAllocated > 16:
        return None
    bits, signed = int(file.BitsStored), int(file.PixelRepresentation)
    slope, intercept = rescale_of(file, frame)
    if (bits, signed, slope, intercept) == (8, 0, 1, 0):
        return None  # its type says the same
    stored = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    ends = sorted(value * slope + intercept for value in stored)
    return ends[0], ends[1]


def window_of(file: Dataset, frame: int, path: Path) -> tuple[float, float]:
    """The values that become black and white in the first window of the file (DICOM PS3.3, C.11.2.1.2).

    Raises:
        DataError: there is none, or it is no straight line.
    """
    group = _group(file, frame, "FrameVOILUTSequence")
    shape = str(group.get("VOILUTFunction") or "LINEAR")
    if "WindowCenter" not in group or "WindowWidth" not in group:
        raise DataError(f"{path}: has no window; set `range`, and `window: false`")
    center, width = (float(np.atleast_1d(group[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    if shape not in ("LINEAR", "LINEAR_EXACT") or width <= 1:
        raise DataError(
            f"{path}: its window is {shape} of width {width:g}; expected a straight one; set `range`"
        )
    half = width / 2 if shape == "LINEAR_EXACT" else (width - 1) / 2
    center = center if shape == "LINEAR_EXACT" else center - 0.5
    return center - half, center + half


def _group(file: Dataset, frame: int, name: str) -> Dataset:
    """Where a frame's values of a functional group stand; in a file without groups, the file."""
    frames = file.get("PerFrameFunctionalGroupsSequence") or []
    places = [*frames[frame : frame + 1], *(file.get("SharedFunctionalGroupsSequence") or [])]
    return next((group[name][0] for group in places if name in group and len(group[name].value)), file)


def _rescaled(pixels: Pixels, rescale: Rescale) -> Pixels:
    """Whole numbers stay so where slope and intercept are whole."""
    if rescale == (1, 0):
        return pixels
    whole = all(value.is_integer() and abs(value) < 2**15 for value in rescale)
    if whole and pixels.dtype.kind in "iu":
        return pixels.astype(np.int64) * int(rescale.slope) + int(rescale.intercept)
    return pixels.astype(np.float64) * rescale.slope + rescale.intercept
