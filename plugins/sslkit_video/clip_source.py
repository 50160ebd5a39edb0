"""Source of clips of videos: which file and which of its frames each is. F files, N clips."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import SIZE, Source, digest, digests_of_files, fingerprint_of, stacked
from sslkit.plugin import DataError, ListedFiles
from sslkit_video.timeline import Timeline, clips_of


class Reader(Protocol):
    """What reads videos of one kind."""

    def parts(self, path: Path) -> list[Path]:
        """The files that hold the video at `path`."""
        ...

    def timeline(self, path: Path) -> Timeline:
        """Its frames. Raises DataError."""
        ...

    def read(self, path: Path, timeline: Timeline, numbers: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Some of them, `[C, T, H, W]`. Raises DataError."""
        ...


class Cut(NamedTuple):
    """How videos are cut in clips."""

    length: int | None
    """Frames of a clip. None: videos are whole."""
    every: int | None
    """Frames from one to the next."""
    rate: float | None
    """Frames a second that videos are brought to."""


class Clip(NamedTuple):
    """One sample."""

    file: int
    first: int
    frames: int
    """0 where the file cannot be read."""


@final
class ClipSource(Source):
    """Clips by file and place in it, decoded when they are asked for."""

    def __init__(self, files: ListedFiles, reader: Reader, cut: Cut, channels: int) -> None:
        """List the clips, without decoding them.

        Raises:
            DataError: no file can be read.
        """
        self.files, self.reader, self.cut, self.channels = files, reader, cut, channels
        self._faults, self._timelines = dict[int, str](), list[Timeline]()
        self._clips = np.array(self._listed(), dtype=np.int64)
        of_file = torch.from_numpy(self._clips[:, 0])
        self.classes = files.classes
        self.labels = None if files.labels is None else torch.tensor(files.labels)[of_file]
        self.attributes = {name: torch.tensor(list(n))[of_file] for name, n in files.attributes.items()}
        self.attribute_values = files.attribute_values

    @cached_property
    def fingerprint(self) -> str:
        """Over what the files hold, which of their frames are clips, labels and how they are read."""
        return fingerprint_of(self, self.reader, self.cut)

    def __len__(self) -> int:
        return len(self._clips)

    def load(self, index: int) -> Tensor:
        """`[C, T, H, W]`."""
        clip = self._at(index)
        if clip.file in self._faults:
            raise DataError(self._faults[clip.file])
        timeline = self._timelines[clip.file]
        numbers = timeline.resampled(self.cut.rate)[clip.first : clip.first + clip.frames]
        return self.reader.read(self._path(clip.file), timeline, numbers)

    def name(self, index: int) -> str:
        """Path below the root and, of a video of several clips, which frames."""
        clip = self._at(index)
        name = self.files.files[clip.file].replace(os.sep, "/")
        if self.cut.length is None or not clip.frames:
            return name
        return f"{name} frames {clip.first} to {clip.first + clip.frames - 1}"

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the files, with the place of the clip; zeros of files that cannot be read."""
        of_files = self._of_files
        return stacked([_within(of_files[clip.file], clip) for clip in map(self._at, range(len(self)))])

    @cached_property
    def _of_files(self) -> NDArray[np.uint8]:
        """`[F, 16]`; of several parts as one."""
        root = self.files.root
        parts = [
            [] if file in self._faults else self.reader.parts(self._path(file))
            for file in range(len(self.files.files))
        ]
        names = [[part.relative_to(root).as_posix() for part in of_file] for of_file in parts]
        every = iter(digests_of_files(root, [name for of_file in names for name in of_file]))
        rows = [[next(every).tobytes() for _ in of_file] for of_file in names]
        return stacked([_joined(of_file) for of_file in rows])

    @property
    def note(self) -> str:
        """What to tell of files that end early, and are read as far as they go; empty where none does."""
        early = [file for file, timeline in enumerate(self._timelines) if timeline.missing]
        if not early:
            return ""
        timeline = self._timelines[early[0]]
        frames = len(timeline.times)
        return (
            f"{self._path(early[0])}: its last {timeline.missing:,} of {frames + timeline.missing:,} frames are "
            f"missing; those before are read ({len(early):,} of {len(self._timelines):,} files end early)"
        )

    def _listed(self) -> list[Clip]:
        clips = list[Clip]()
        for file in range(len(self.files.files)):
            try:
                timeline = self.reader.timeline(self._path(file))
                count = len(timeline.resampled(self.cut.rate))
                clips += [Clip(file, *at) for at in clips_of(count, self.cut.length, self.cut.every)]
            except DataError as error:
                timeline, self._faults[file] = Timeline(range(0)), str(error)
                clips.append(Clip(file, 0, 0))
            self._timelines.append(timeline)
        if len(self._faults) == len(self.files.files):
            raise DataError(next(iter(self._faults.values()), f"{self.files.root}: holds no video"))
        return clips

    def _path(self, file: int) -> Path:
        return self.files.root / self.files.files[file]

    def _at(self, index: int) -> Clip:
        file, first, frames = self._clips[index].tolist()
        return Clip(file, first, frames)


def _joined(rows: Sequence[bytes]) -> bytes:
    match rows:
        case []:
            return bytes(SIZE)
        case [only]:
            return only
        case _:
            return digest(b"".join(rows))


def _within(of_file: NDArray[np.uint8], clip: Clip) -> bytes:
    if not of_file.any():
        return bytes(SIZE)
    return digest(of_file.tobytes() + repr((clip.first, clip.frames)).encode())
