"""Frames of video files, decoded by PyAV (FFmpeg): exact by time stamps, upright, from the nearest key frame on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple, final

import av
import numpy as np
import torch
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from torch import Tensor

from sslkit.plugin import DataError
from sslkit_video.timeline import Timeline

FORMATS = {1: "gray", 3: "rgb24"}
"""Channels -> what frames are converted to."""
EARLIER = (0, 1, 4, 16)
"""Seconds before the first frame at which a key frame is sought, in turn: some files tell of later ones as earlier."""


@final
class VideoReader(NamedTuple):
    """How video files are read."""

    channels: int = 3
    short_side: int | None = None
    """Pixels that the shorter side is reduced to; None, or of smaller frames: none."""
    max_pixels: int = 1 << 31
    """Of a clip as it is kept, at most."""

    def parts(self, path: Path) -> list[Path]:
        """The file."""
        return [path]

    def timeline(self, path: Path) -> Timeline:
        """The frames of the file that are there, without decoding them where they have time stamps.

        Raises:
            DataError: it is no video that can be read.
        """
        with _opened(path) as (container, stream):
            (stamps, missing), unit = _stamps(container, stream), stream.time_base
        if stamps and unit and None not in stamps:
            return Timeline.of([stamp for stamp in stamps if stamp is not None], unit, missing)
        if not stamps:
            raise DataError(f"{path}: holds no frame that can be read")
        with _opened(path) as (container, stream):
            return Timeline(range(sum(1 for _ in _decoded(container, stream))))

    def read(self, path: Path, timeline: Timeline, numbers: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """The frames `numbers` of the file, ascending and maybe repeated, `[C, T, H, W]` uint8.

        Raises:
            DataError: some cannot be decoded, or they are too many pixels.
        """
        wanted = {int(timeline.times[number]): int(number) for number in sorted({*map(int, numbers)})}
        with _opened(path) as (container, stream):
            frames = dict[int, NDArray[np.uint8]]()
            for time, frame in self._from(container, stream, timeline, min(wanted)):
                if time in wanted:
                    frames[time] = self._pixels(frame)
                    self._require_room(frames[time], len(numbers), path)
                if time >= max(wanted):
                    break
        if lost := [number for time, number in wanted.items() if time not in frames]:
            first, *_, last = [*wanted.values()] * 2
            raise DataError(
                f"{path}: {len(lost)} of its frames from {first} to {last} cannot be decoded, the first is {lost[0]}; "
                "the file is damaged, or its end is missing"
            )
        return _clip([frames[int(timeline.times[int(number)])] for number in numbers])

    def _require_room(self, frame: NDArray[np.uint8], count: int, path: Path) -> None:
        height, width = frame.shape[:2]
        if count * height * width > self.max_pixels:
            raise DataError(
                f"{path}: {count} frames of {width} x {height} pixels are more than max_pixels={self.max_pixels:,}; "
                "set `short_side`, or shorter clips"
            )

    def _from(
        self, container: InputContainer, stream: VideoStream, timeline: Timeline, first: int
    ) -> Iterator[tuple[int, VideoFrame]]:
        """(time, frame) in order, beginning at `first` or before it."""
        if timeline.unit is None:
            yield from enumerate(_decoded(container, stream))
            return
        for seconds in EARLIER if first > timeline.times[0] else ():
            if not _sought(container, stream, first - round(seconds / timeline.unit)):
                break
            frames = _stamped(_decoded(container, stream))
            opening = next(frames, None)
            if opening is not None and opening[0] <= first:
                yield opening
                yield from frames
                return
        if first > timeline.times[0]:
            _sought(container, stream, int(timeline.times[0]))
        yield from _stamped(_decoded(container, stream))

    def _pixels(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """`[H, W, C]`, upright."""
        sides = (frame.width, frame.height)
        least = min(sides)
        if self.short_side is not None and least > self.short_side:
            sides = (
                round(sides[0] * self.short_side / least),
                round(sides[1] * self.short_side / least),
            )
        array = frame.to_ndarray(format=FORMATS[self.channels], width=sides[0], height=sides[1])
        turned = np.rot90(array.reshape(sides[1], sides[0], self.channels), round(frame.rotation / 90) % 4)
        return np.ascontiguousarray(turned, dtype=np.uint8)


def _clip(frames: Sequence[NDArray[np.uint8]]) -> Tensor:
    """`[C, T, H, W]` of frames `[H, W, C]`: channel by channel, some ten times as quick as a transposed stack."""
    height, width, channels = frames[0].shape
    clip = np.empty((channels, len(frames), height, width), dtype=np.uint8)
    for place, frame in enumerate(frames):
        for channel in range(channels):
            clip[channel, place] = frame[..., channel]
    return torch.from_numpy(clip)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and its first stream of video. Raises DataError for what FFmpeg cannot read."""
    try:
        with closing(av.open(str(path), metadata_errors="replace")) as container:
            if not container.streams.video:
                raise DataError(f"{path}: holds no video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # workers are many already
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a video ({error.strerror}); is it whole?") from None


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Those that are whole."""
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_corrupt:
                yield packet
    except av.FFmpegError:
        return  # a tail that is broken: what came before it counts


def _stamps(container: InputContainer, stream: VideoStream) -> tuple[list[int | None], int]:
    """Of the packets that are there and are shown; and how many more the file tells of."""
    packets = [(packet.pts, packet.is_discard) for packet in _packets(container, stream)]
    return [pts for pts, hidden in packets if not hidden], max(stream.frames - len(packets), 0)


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames that are whole, from where the container stands to the end; damaged ones are left out."""
    for packet in chain(
        _packets(container, stream), [None]
    ):  # with the last one come frames that are held back
        frames = list[VideoFrame]()
        with suppress(av.FFmpegError):
            frames = stream.codec_context.decode(packet)
        yield from (frame for frame in frames if not frame.is_corrupt)


def _sought(container: InputContainer, stream: VideoStream, time: int) -> bool:
    """Whether the file could be brought to the key frame at or before `time`; some formats cannot jump."""
    try:
        container.seek(time, stream=stream)
    except av.FFmpegError:
        return False
    return True


def _stamped(frames: Iterator[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
    return ((frame.pts, frame) for frame in frames if frame.pts is not None)
