"""Specs of sources of videos. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import Problem, SourceSpec, Stream

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec

STREAMS: Mapping[str, Stream] = {"video": Stream("video", 3)}


@final
class MovingDigits(SourceSpec):
    """Scikit-learn's digits that move, turn and bounce off the borders (Moving MNIST: Srivastava et al. 2015).

    Labels are digits. `direction` (of eight), `speed` (of three) and `turning` are attributes, for `probing`: those in
    the middle of a video. Digits of test videos are never in training videos.
    """

    kind: Literal["moving_digits"] = "moving_digits"
    videos: int = Field(4000, ge=1)
    """Training videos."""
    test_videos: int = Field(1000, ge=1)
    """Test videos."""
    frames: int = Field(16, ge=2)
    """Frames of a video (Moving MNIST: 20)."""
    size: int = Field(32, ge=16)
    """Height and width, in pixels (Moving MNIST: 64)."""
    digit: int = Field(14, ge=8)
    """Side of a digit, in pixels (of 8 pixels as scikit-learn has them)."""
    speeds: tuple[float, float, float] = (0.5, 1.0, 1.5)
    """Pixels a frame, of the three speeds."""
    turn: float = Field(6.0, ge=0)
    """Degrees a frame that a digit turns, to the left, not at all, or to the right."""
    seed: int = Field(0, ge=0)
    """Of digits, places, directions, speeds and turns."""

    @classmethod
    def example(cls) -> Self:
        return cls(videos=64, test_videos=32, frames=4, size=16, digit=8)

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Digits have room to move, and videos fit in memory."""
        if self.digit * 1.5 > self.size:
            yield Problem(
                "digit", f"{self.digit} pixels, turned, leave no room to move in {self.size}; make it smaller"
            )
        if min(self.speeds) <= 0:
            yield Problem("speeds", f"are above 0, found {list(self.speeds)}")
        if max(self.speeds) >= self.size - self.digit:
            yield Problem("speeds", f"are below the room to move, {self.size - self.digit} pixels")

    def build(self, split: str) -> Source:
        from sslkit_video.moving_digits import MovingDigitsSource, Shape

        shape = Shape(self.frames, self.size, self.digit, self.speeds, self.turn)
        return MovingDigitsSource(
            shape, split, self.videos if split == "train" else self.test_videos, self.seed
        )
