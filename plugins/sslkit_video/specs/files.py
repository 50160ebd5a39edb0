"""Specs of sources of videos in files. Torch-free."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import AfterValidator, Field

from sslkit.plugin import (
    ListingColumns,
    Problem,
    SourceSpec,
    SplitSpec,
    SslkitWarning,
    Stream,
    readable_endings,
)
from sslkit_video.found_videos import Kind
from sslkit_video.specs.sources import STREAMS
from sslkit_video.specs.videos import video_problems, video_unused, videos_of

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec

ENDINGS = (
    ".mp4",
    ".m4v",
    ".mov",
    ".avi",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".ts",
    ".wmv",
    ".flv",
    ".3gp",
    ".ogv",
)
"""Of files that are usually videos."""


def _dotted(ends: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f".{end.lower().lstrip('.')}" for end in ends)


Extensions = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_dotted)]


@final
class VideoFolder(SourceSpec):
    """Video files, decoded by PyAV (FFmpeg): frames exact by their time stamps, upright, cut in clips."""

    unchecked: ClassVar[str] = "it needs video files, and the package brings none"
    kind: Literal["video_folder"] = "video_folder"
    root: Path
    """A file, or a folder of files at any depth; folders right below it are classes."""
    test: Path | None = None
    """Videos of the test split, in the same way. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the files at `root`; all clips of a file are in one split."""
    listing: Path | None = None
    """File that names the files below `root`, in place of all: CSV whose columns have labels, splits, groups and
    attributes, or a text file of a path on each line."""
    test_listing: Path | None = None
    """The same for the test split, its paths below `test`, or else `root`."""
    columns: ListingColumns = ListingColumns()
    """What the columns of `listing` are called."""
    label_folders: bool = True
    """Whether the folders right below `root` are classes."""
    clip: int | None = Field(64, ge=1)
    """Frames of a sample: longer files are several. null: files are whole. Our default serves 16 frames with stride 4
    (VideoMAE, MAE-ST)."""
    every: int | None = Field(None, ge=1)
    """Frames from the first one of a sample to that of the next. Default: `clip`. The last one ends with the file."""
    rate: float | None = Field(None, gt=0)
    """Frames a second that files are brought to by their time stamps (SlowFast: 30). Default: frames as they are
    stored, uneven in time where a recording's rate varies."""
    channels: Literal[1, 3] = 3
    """Gray or color."""
    short_side: int | None = Field(256, ge=8)
    """Pixels that the shorter side of larger frames is reduced to when they are decoded (SlowFast's and VideoMAE's
    preparation: 256 and 320). null: none."""
    max_pixels: int = Field(1 << 31, ge=1)
    """Pixels of a sample at most, all frames together; past it, it is unreadable. Our default: 6 GiB of color."""
    extensions: Extensions = ENDINGS
    """Ends of the names of files that are read, in any case."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if find_spec("av") is None:
            yield Problem("kind", "needs PyAV; install it: pip install av")
        yield from video_problems(self)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from video_unused(self)

    def build(self, split: str) -> Source | None:
        from sslkit_video.clip_source import ClipSource, Cut
        from sslkit_video.video_reader import VideoReader

        files = videos_of(self, Kind("video file", self.extensions, folders=False), split)
        reader = VideoReader(self.channels, self.short_side, self.max_pixels)
        cut = Cut(self.clip, self.every, self.rate)
        source = None if files is None else ClipSource(files, reader, cut, self.channels)
        if source is not None and source.note:
            warnings.warn(source.note, SslkitWarning, stacklevel=2)
        return source


@final
class FrameFolders(SourceSpec):
    """Folders of frames: the images of a folder, in the order of the numbers in their names, are one video."""

    unchecked: ClassVar[str] = "it needs folders of frames, and the package brings none"
    kind: Literal["frame_folders"] = "frame_folders"
    root: Path
    """A folder that holds folders of frames at any depth; folders right below it are classes where videos lie in
    them."""
    test: Path | None = None
    """Videos of the test split, in the same way. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the videos at `root`."""
    listing: Path | None = None
    """File that names the folders of frames below `root`, in place of all: CSV whose columns have labels, splits,
    groups and attributes, or a text file of a path on each line."""
    test_listing: Path | None = None
    """The same for the test split, its paths below `test`, or else `root`."""
    columns: ListingColumns = ListingColumns()
    """What the columns of `listing` are called."""
    label_folders: bool = True
    """Whether the folders right below `root` are classes, where videos lie in folders of those."""
    clip: int | None = Field(64, ge=1)
    """Frames of a sample: longer videos are several. null: they are whole. Our default is that of `video_folder`."""
    every: int | None = Field(None, ge=1)
    """Frames from the first one of a sample to that of the next. Default: `clip`. The last one ends with the video."""
    channels: Literal[1, 3] = 3
    """Gray or color."""
    shrink: int | None = Field(None, ge=1)
    """Decode JPEG files at 1/2, 1/4 or 1/8 of their size where both sides keep so many pixels. Default: whole."""
    max_pixels: int = Field(89_478_485, ge=1)
    """Pixels of a frame at most. Default: where PIL warns."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from video_problems(self)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from video_unused(self)

    def build(self, split: str) -> Source | None:
        from sslkit.interfaces import Decoder
        from sslkit_video.clip_source import ClipSource, Cut
        from sslkit_video.frame_reader import FrameReader

        files = videos_of(self, Kind("folder of frames", readable_endings(), folders=True), split)
        reader, cut = (
            FrameReader(Decoder(self.channels, max_pixels=self.max_pixels, shrink=self.shrink)),
            Cut(self.clip, self.every, None),
        )
        return None if files is None else ClipSource(files, reader, cut, self.channels)
