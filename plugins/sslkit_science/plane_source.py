"""Source of the images inside scientific files, read lazily."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import (
    SIZE,
    PixelRange,
    Source,
    digest,
    digests_of_files,
    fingerprint_of,
    resolve_range,
    stacked,
)
from sslkit.plugin import DataError, Range, suggest
from sslkit_science.drawn_files import Part
from sslkit_science.image_files import Files
from sslkit_science.layout import Window
from sslkit_science.reader import Pixels, Plane, Reader, native
from sslkit_science.tiles import filled_windows, windows

SAMPLES = 16
"""Images, spread over all, that tell the range of values."""
LEAST_SHARE = 0.02
"""Of the values that a file can hold, what images use at least where no range is set."""
MOST_NAMES = 16
"""Names of channels in a message at most."""
PASSED_ON = ("uint8", "uint16", "int16")
"""Types that need no mapping: the whole range of the type stands for 0 to 1."""


class ChannelsError(DataError):
    """An image has other channels than are asked for; all of its kind have."""


class Reading(NamedTuple):
    """What is made of the images of files."""

    range: Range
    channels: int | None = None
    """Of every image. None: as many as the first image has."""
    bands: tuple[int | str, ...] = ()
    """Which channels are read, by place or name; all where it is empty."""
    max_pixels: int = 89_478_485
    """Pixels of an image, or of a tile of one, at most."""
    tile: int | None = None
    """Side of the tiles that images are cut into."""
    empty: float | None = None
    """Tiles are left out whose values differ by no more than this share; None: no tile is."""


class Entry(NamedTuple):
    """One image of the source."""

    file: int
    plane: Plane | None
    """None where the file cannot be read."""
    window: Window


@final
class PlaneSource(Source):
    """Images by file, place in it, and window."""

    def __init__(
        self,
        files: Files,
        reader: Reader,
        reading: Reading,
        train: PlaneSource | None = None,
        part: Part | None = None,
    ) -> None:
        """List the images, without their pixels.

        Args:
            files: that hold them.
            reader: of their format.
            reading: what is made of them.
            train: the source of the training images, whose classes, channels and ranges are this one's too.
            part: which of the images are read. Default: all.
        """
        self.files, self.reader, self.reading = files, reader, reading
        self._faults: dict[int, str] = {}
        entries = self._listed()
        self._entries = list(compress(entries, part([_key(entry) for entry in entries]))) if part else entries
        self.labels, self.classes = self._labeled(train)
        self.attributes = {name: self._of_files(values) for name, values in files.attributes.items()}
        self.attribute_values = files.attribute_values
        self.sizes = frozenset(
            (entry.window.height, entry.window.width) for entry in self._entries if entry.plane
        )
        self.channels = train.channels if train else reading.channels or self._first_channels()
        self.channel_names = train.channel_names if train else self._first_names()
        self.mapping: PixelRange | None = train.mapping if train else self._resolved()

    @cached_property
    def fingerprint(self) -> str:
        """Over what the files hold, which of their images are read, labels and ranges."""
        return fingerprint_of(self, self.reading.bands, self.mapping, self.reader.settings, self._shown)

    def __len__(self) -> int:
        return len(self._entries)

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the files, with the place of the image in its file."""
        of_files = self._file_digests()
        return stacked([_within(of_files[entry.file], entry) for entry in self._entries])

    def load(self, index: int) -> Tensor:
        entry = self._entries[index]
        if entry.plane is None:
            raise DataError(self._faults[entry.file])
        pixels = self.pixels(index)
        limits = entry.plane.shown
        mapping = self.mapping if limits is None else PixelRange((limits[0],), (limits[1],))
        if mapping is None and pixels.dtype.name in PASSED_ON:
            pixels = np.invert(pixels) if entry.plane.inverted else pixels
            return torch.from_numpy(np.array(pixels, order="C"))
        values = (mapping or PixelRange.of_type(pixels.dtype))(pixels)
        return 1 - values if entry.plane.inverted else values

    def pixels(self, index: int) -> Pixels:
        """Image `index` as its file has it, `[C, H, W]`.

        Raises:
            DataError: it cannot be decoded, is too large, or (a `ChannelsError`) has other channels than the source.
        """
        file, plane, window = self._entries[index]
        assert plane is not None, "a file that cannot be read has no pixels"
        where = self.name(index)
        if window.height * window.width > self.reading.max_pixels:
            raise DataError(
                f"{where}: has {window.width:,} x {window.height:,} pixels, more than max_pixels="
                f"{self.reading.max_pixels:,}; cut it with the field `tile`, or raise `max_pixels`"
            )
        pixels = native(self.reader.read(self.files.path(file), plane, window))
        if self.reading.bands:
            pixels = pixels[[_place(band, plane, where) for band in self.reading.bands]]
        if self.reading.channels and len(pixels) == 1:
            pixels = np.repeat(pixels, self.reading.channels, axis=0)
        if len(pixels) != self.channels:
            asked = f"channels: {self.channels} asks for others" * bool(self.reading.channels)
            raise ChannelsError(
                f"{where}: has {len(pixels)} channels, and {asked or f'these images are of {self.channels}'}; choose "
                "channels that all images have with the field `bands`, as in bands: [0]"
            )
        return pixels

    def name(self, index: int) -> str:
        """Path below the root and, where the file has several images, the place in it."""
        entry = self._entries[index]
        name = self.files.names[entry.file]
        if entry.plane is None:
            return name
        inside = [entry.plane.name] if entry.plane.name else []
        if (entry.window.height, entry.window.width) != (entry.plane.height, entry.plane.width):
            inside.append(f"row {entry.window.y} column {entry.window.x}")
        return " ".join([name, *inside])

    @cached_property
    def _shown(self) -> tuple[object, ...]:
        return tuple(entry.plane.shown for entry in self._entries if entry.plane and entry.plane.shown)

    def _listed(self) -> list[Entry]:
        entries = list[Entry]()
        for file in range(len(self.files.names)):
            path = self.files.path(file)
            try:
                planes = self.reader.planes(path)
                entries += [Entry(file, plane, at) for plane in planes for at in self._windows(path, plane)]
            except DataError as error:
                self._faults[file] = str(error)
                entries.append(Entry(file, None, Window(0, 0, 0, 0)))
        if not any(entry.plane for entry in entries):
            raise DataError(
                next(iter(self._faults.values()), f"{self.files.root}: holds no image that is not empty")
            )
        return sorted(entries, key=lambda entry: entry.plane.order if entry.plane else ())

    def _windows(self, path: Path, plane: Plane) -> list[Window]:
        if self.reading.tile is None or self.reading.empty is None:
            return windows(plane, self.reading.tile)
        return filled_windows(self.reader, path, plane, self.reading.tile, self.reading.empty)

    def _labeled(self, train: PlaneSource | None) -> tuple[Tensor | None, tuple[str, ...]]:
        in_files = [
            entry.plane.label for entry in self._entries if entry.plane and entry.plane.label is not None
        ]
        if self.files.labels is not None and in_files:
            raise DataError(
                f"{self.files.root}: files have labels inside (`labels`), and their folders or a listing name others; "
                "leave one out, as by `label_folders: false` or `columns: {label: null}`"
            )
        if self.files.labels is not None:
            return self._of_files(self.files.labels), self.files.classes
        if not in_files:
            return None, ()
        if len(in_files) < len(self._entries):
            raise DataError(
                f"{self.files.root}: {len(self._entries) - len(in_files)} of its images have no label"
            )
        classes = train.classes if train else _class_names(in_files)
        index = {name: i for i, name in enumerate(classes)}
        if strange := next((label for label in in_files if str(label) not in index), None):
            raise DataError(
                f"{self.files.root}: the label {strange!r} is none of the {len(classes)} training classes"
            )
        return torch.tensor([index[str(label)] for label in in_files]), classes

    def _of_files(self, numbers: Sequence[int]) -> Tensor:
        """For each image that of its file."""
        return torch.tensor([numbers[entry.file] for entry in self._entries])

    def _first_names(self) -> tuple[str, ...]:
        """Of the channels, as the first file that can be read has them; those of `bands`, where they are chosen."""
        plane = next((entry.plane for entry in self._entries if entry.plane), None)
        names = plane.channel_names if plane else ()
        if plane and names and self.reading.bands:
            with suppress(ChannelsError):  # which is told when the image is read
                names = tuple(names[_place(band, plane, "")] for band in self.reading.bands)
        return names if len(names) == self.channels else ()

    def _first_channels(self) -> int:
        plane = next(entry.plane for entry in self._entries if entry.plane)
        return len(self.reading.bands) or plane.channels

    def _resolved(self) -> PixelRange | None:
        """The mapping of values that the first images, and what files say of their values, call for."""
        whole = [i for i, entry in enumerate(self._entries) if entry.plane]
        some = sorted({whole[round(i * (len(whole) - 1) / (SAMPLES - 1))] for i in range(SAMPLES)})
        planes = [plane for i in some if (plane := self._entries[i].plane)]
        if all(plane.shown for plane in planes):
            return None
        samples = self._samples(some)
        limits = [plane.limits for plane in planes if plane.limits]
        if self.reading.range not in ("auto", "type") or len(limits) < len(planes) or not samples:
            return resolve_range(self.reading.range, samples, "range")
        low, high = min(limit[0] for limit in limits), max(limit[1] for limit in limits)
        if self.reading.range == "auto":
            _require_share(samples, low, high, str(self.files.root))
        return PixelRange((low,), (high,))

    def _samples(self, indices: Sequence[int]) -> list[Pixels]:
        """Those that can be read. The others are counted as unreadable when their turn comes.

        Raises:
            ChannelsError: none has the channels that are asked for.
        """
        samples, faults = list[Pixels](), list[ChannelsError]()
        for index in indices:
            try:
                samples.append(self.pixels(index))
            except ChannelsError as error:
                faults.append(error)
            except DataError:
                pass
        if faults and not samples:
            raise faults[0]
        return samples

    def _file_digests(self) -> NDArray[np.uint8]:
        """`[files, 16]`; of several parts as one."""
        root = self.files.root
        parts = [self.reader.parts(self.files.path(file)) for file in range(len(self.files.names))]
        names = [[part.relative_to(root).as_posix() for part in of_file] for of_file in parts]
        every = iter(digests_of_files(root, [name for of_file in names for name in of_file]))
        of_files = []
        for file, of_file in enumerate(names):
            rows = [next(every) for _ in of_file]
            store = self.files.path(file)
            inner = (
                [part.relative_to(store).as_posix().encode() for part in parts[file]] if len(rows) > 1 else []
            )
            of_files.append(
                digest(b"".join(n + b"\0" + r.tobytes() for n, r in zip(inner, rows, strict=True)))
                if inner
                else b"".join(row.tobytes() for row in rows).ljust(SIZE, b"\0")
            )
        return stacked(of_files)


def tell(text: str) -> None:
    """Print `text` once, beside what a run prints."""
    if text not in _PRINTED:
        _PRINTED.add(text)
        print(text, file=sys.stderr, flush=True)


_PRINTED = set[str]()


def _place(band: int | str, plane: Plane, where: str) -> int:
    """Of a channel among those of `plane`."""
    if band in plane.channel_names:
        return plane.channel_names.index(str(band))
    if band in range(plane.channels):
        return int(band)
    if plane.channel_names and band == str(band):
        raise ChannelsError(f"{where}: has no channel {band!r}. {suggest(str(band), plane.channel_names)}")
    names = ", without names" * (band == str(band))
    if plane.channel_names:
        names = f" ({', '.join(plane.channel_names[:MOST_NAMES])})"
    raise ChannelsError(
        f"{where}: has {plane.channels} channels, counted from 0{names}; bands names {band!r}"
    )


def _key(entry: Entry) -> str:
    """The place of an image in its file."""
    return " ".join(map(str, map(int, (*(entry.plane.place if entry.plane else ()), *entry.window))))


def _within(of_file: NDArray[np.uint8], entry: Entry) -> bytes:
    if not of_file.any():
        return bytes(SIZE)
    place = entry.plane.place if entry.plane else ()
    return digest(of_file.tobytes() + repr((place, tuple(entry.window))).encode())


def _class_names(labels: Iterable[int | str]) -> tuple[str, ...]:
    texts = sorted({str(label) for label in labels})
    if all(text.isdecimal() for text in texts):
        return tuple(map(str, range(max(map(int, texts)) + 1)))
    return tuple(texts)


def _require_share(samples: Sequence[Pixels], low: float, high: float, where: str) -> None:
    """Pass where the samples use some of the values from `low` to `high`."""
    least, most = (
        min(float(sample.min()) for sample in samples),
        max(float(sample.max()) for sample in samples),
    )
    if most - least < LEAST_SHARE * (high - low):
        raise DataError(
            f"range: the first images of {where} have values from {least:g} to {most:g}, under 2 % of the {low:g} to "
            f"{high:g} that their files can hold; write the values that are to become black and white, as in "
            f"range: [{least:g}, {most:g}], or range: type for all that the files can hold"
        )
