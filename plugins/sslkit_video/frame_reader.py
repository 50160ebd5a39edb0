"""Frames that are image files of one folder, in the order of their numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Decoder
from sslkit.plugin import DataError, read_bytes, readable_endings
from sslkit_video.timeline import Timeline


@final
class FrameReader(NamedTuple):
    """How folders of frames are read."""

    decoder: Decoder

    def parts(self, path: Path) -> list[Path]:
        """The frames: `frame_2` comes before `frame_10`.

        Raises:
            DataError: the folder cannot be listed.
        """
        endings = readable_endings()
        try:
            files = [p for p in path.iterdir() if p.suffix.lower() in endings and not p.name.startswith(".")]
        except OSError as error:
            raise DataError(f"{path}: cannot be listed: {error.strerror}") from None
        return sorted(files, key=lambda file: by_number(file.name))

    def timeline(self, path: Path) -> Timeline:
        """Of frames without time stamps.

        Raises:
            DataError: there is none.
        """
        if frames := self.parts(path):
            return Timeline(range(len(frames)))
        raise DataError(f"{path}: holds no image")

    def read(self, path: Path, timeline: Timeline, numbers: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """The frames `numbers`, `[C, T, H, W]`.

        Raises:
            DataError: one cannot be decoded, is missing, or is of another size or type than the first.
        """
        files = self.parts(path)
        if len(files) < len(timeline.times):
            raise DataError(f"{path}: has {len(files)} frames, and had {len(timeline.times)} before")
        asked = [files[int(number)] for number in numbers]
        frames = [self.decoder(read_bytes(file), str(file)) for file in asked]
        for file, frame in zip(asked, frames, strict=True):
            if (frame.shape, frame.dtype) != (frames[0].shape, frames[0].dtype):
                raise DataError(
                    f"{file}: is {frame.shape[2]} x {frame.shape[1]} ({frame.dtype}), unlike {asked[0].name}, which "
                    f"is {frames[0].shape[2]} x {frames[0].shape[1]} ({frames[0].dtype}); frames of a video are alike"
                )
        return torch.stack(frames, dim=1)


def by_number(name: str) -> list[tuple[str, int]]:
    """What sorts names by the numbers in them."""
    pieces = re.findall(r"(\D*)(\d*)", name)
    return [(text, int(digits or -1)) for text, digits in pieces]
