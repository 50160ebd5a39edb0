"""NIfTI through nibabel: slices of volumes, standing as on a radiologist's screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np

from sslkit.plugin import DataError, require_regular
from sslkit_science.layout import Layout, Window
from sslkit_science.libraries import library
from sslkit_science.reader import Handles, Pixels, Plane, Reader, decoding, native, require_numbers

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

DIRECTIONS = {"axial": "SPL", "coronal": "AIL", "sagittal": "RIP"}
"""Where slices, rows and columns go to: the patient's left on the right, anterior or superior at the top."""
LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""Ends of the axes of space, low to high."""
VOLUMES = 2
"""Compressed volumes that a process keeps in memory."""


class Cut(NamedTuple):
    """Which slices of a volume are read."""

    axis: str
    """`axial`, `coronal`, `sagittal`, or the number of an axis of the array."""
    volumes: str
    """What the fourth axis is: `images` or `channels`."""
    percentile: tuple[float, float] | None
    """Of each volume, which become 0 and 1."""
    max_bytes: int
    """Of a volume in memory."""


class Turn(NamedTuple):
    """How a slice of the stored array is turned."""

    layout: Layout
    flips: tuple[bool, bool, bool]
    """Whether slices, rows and columns run against the array."""
    title: str
    """What slices are called."""


@final
class Volume:
    """A file whose header is read; its values are read or mapped once."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        require_regular(path)
        self.image: Nifti1Image = library("nibabel").load(path)
        stored = self.image.dataobj
        size = int(np.prod(stored.shape)) * stored.dtype.itemsize
        if path.suffix.lower() == ".gz" and size > max_bytes:
            raise DataError(
                f"{path}: has {size:,} bytes once decompressed, more than max_bytes={max_bytes:,}; decompress it to "
                ".nii, of which slices alone are read, or raise `max_bytes`"
            )
        self.stored = np.asanyarray(stored.get_unscaled())

    def close(self) -> None:
        """Nothing is open but what is mapped."""


@final
class NIfTIReader(Reader):
    """Slices along an axis, scaled as the header says."""

    def __init__(self, cut: Cut) -> None:
        library("nibabel")
        self.cut, self.settings = cut, cut
        self._open = Handles(self._volume, VOLUMES)

    def _volume(self, path: Path) -> Volume:
        return Volume(path, self.cut.max_bytes)

    def planes(self, path: Path) -> list[Plane]:
        with decoding(path):
            require_regular(path)
            image = library("nibabel").load(path)
            shape, dtype = tuple(map(int, image.shape)), image.get_data_dtype()
            require_numbers(np.dtype(dtype), str(path))
            turn = self._turn(shape, image, path)
            shown = self._shown(path)
        return list(_planes(turn, shown))

    def read(self, path: Path, plane: Plane, window: Window) -> Pixels:
        with decoding(path, plane.name):
            volume = self._open[path]
            turn = self._turn(volume.stored.shape, volume.image, path)
            whole = Window(0, 0, *turn.layout.size)
            pixels = turn.layout.arranged(volume.stored[turn.layout.selection(plane.place[0], whole)])
            down, right = (-1 if flip else 1 for flip in turn.flips[1:])
            pixels = pixels[:, ::down, ::right]
            rows, columns = (
                slice(window.y, window.y + window.height),
                slice(window.x, window.x + window.width),
            )
            return _scaled(native(pixels[:, rows, columns]), volume.image)

    def _turn(self, shape: tuple[int, ...], image: Nifti1Image, path: Path) -> Turn:
        """What the axes of the array are in the slices that are asked for."""
        if len(shape) not in (3, 4):
            raise DataError(f"{path}: has the shape {shape}; expected a volume, or a row of volumes")
        fourth = {"images": "T", "channels": "C"}[self.cut.volumes]
        if self.cut.axis not in DIRECTIONS:
            axes = "".join("Z" if at == int(self.cut.axis) else " " for at in range(3)).replace(" ", "Y", 1)
            title = f"axis {self.cut.axis} slice"
            return Turn(
                Layout(axes.replace(" ", "X") + fourth[: len(shape) - 3], shape), (False, False, False), title
            )
        codes = library("nibabel").aff2axcodes(image.affine)
        if None in codes:
            raise DataError(
                f"{path}: its affine has an empty axis, so {self.cut.axis} is unknown; set `axis` to 0, 1, 2"
            )
        letters, flips = [""] * 3, []
        for letter, direction in zip("ZYX", DIRECTIONS[self.cut.axis], strict=True):
            ends = next(ends for ends in LETTERS if direction in ends)
            at = next(i for i, code in enumerate(codes) if code in ends)
            letters[at] = letter
            flips.append(codes[at] != direction)
        axes = "".join(letters) + fourth[: len(shape) - 3]
        return Turn(Layout(axes, shape), (flips[0], flips[1], flips[2]), self.cut.axis)

    def _shown(self, path: Path) -> tuple[float, float] | None:
        if self.cut.percentile is None:
            return None
        volume = Volume(path, self.cut.max_bytes)
        values = (
            volume.stored[np.isfinite(volume.stored)] if volume.stored.dtype.kind == "f" else volume.stored
        )
        scaled = _scaled(values, volume.image).astype(np.float64)
        low, high = np.percentile(scaled, self.cut.percentile).tolist()
        if not low < high:
            raise DataError(f"{path}: its percentiles {self.cut.percentile} are both {low:g}")
        return low, high


def _planes(turn: Turn, shown: tuple[float, float] | None) -> Iterator[Plane]:
    """From inferior to superior, posterior to anterior, or left to right, whichever way the array runs."""
    layout = turn.layout
    along = layout.axes.index("Z")
    images = range(layout.images)
    for image in sorted(images, key=lambda image: layout.position(image)[along] * (-1) ** turn.flips[0]):
        place = layout.position(image)
        number = layout.shape[along] - 1 - place[along] if turn.flips[0] else place[along]
        volume = [f"volume {n}" for axis, n in place.items() if layout.axes[axis] == "T"]
        name = " ".join([f"{turn.title} {number}", *volume])
        yield Plane((image,), name, layout.channels, *layout.size, shown=shown)


def _scaled(pixels: Pixels, image: Nifti1Image) -> Pixels:
    """Stored values as the header's slope and intercept have them."""
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    if (slope, intercept) == (1, 0):
        return pixels
    return pixels.astype(np.float64) * slope + intercept
