"""Video files for tests: every frame tells its number by its brightness, whatever codecs do to it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

STEP = 8
"""Gray levels from one frame to the next: more than codecs change."""


def picture(number: int, height: int, width: int) -> np.ndarray:
    """Gray of its number; the corner at the top left is white, or black where the frame is bright."""
    image = np.full((height, width, 3), number * STEP % 256, dtype=np.uint8)
    image[: height // 4, : width // 4] = 255 if number * STEP % 256 < 128 else 0
    return image


def write_video(
    path: Path,
    frames: int = 24,
    size: tuple[int, int] = (32, 48),
    *,
    codec: str = "libx264",
    times: list[int] | None = None,
    rotation: int = 0,
    key_every: int = 8,
    options: dict[str, str] | None = None,
) -> Path:
    """`times`: of frames, in hundredths of a second; default: 25 a second. `rotation`: degrees to the left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = key_every
        stream.codec_context.time_base = Fraction(1, 100)
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame.pts, frame.time_base = (times[number] if times else number * 4), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers_of(clip) -> list[int]:
    """The numbers of the frames of `[C, T, H, W]`, by the brightness of the middle."""
    middle = clip[:, :, clip.shape[2] // 2, clip.shape[3] // 2].float().mean(0)
    return (middle / STEP).round().int().tolist()
