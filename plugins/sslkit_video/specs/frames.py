"""Spec of `frames`: clips of videos. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import AfterValidator, Field

from sslkit.plugin import Problem, TransformSpec, sides_of

if TYPE_CHECKING:
    from sslkit.interfaces import Transform
    from sslkit.plugin import RunSpec, Size


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1]:
        raise ValueError(f"a range is [low, high] with 0 < low <= high, found {list(value)}")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


@final
class Frames(TransformSpec):
    """A clip of a video: some of its frames, and one part of them all. The view's `size` is `[frames, height, width]`.

    Evaluation takes the middle of the video and the largest central part.
    """

    takes: ClassVar[str] = "video"
    gives: ClassVar[str] = "clip"
    axes: ClassVar[int] = 3
    kind: Literal["frames"] = "frames"
    sampling: Literal["stride", "span", "segments", "motion"] = "stride"
    """`stride`: every `stride`-th frame from a random one, the last one again where a video ends (VideoMAE). `span`:
    equal real steps over `stride` times as many frames, rounded down (SlowFast, MAE-ST). `segments`: one random frame
    of each of so many equal parts of the whole video (TSN). `motion`: a random start, and more frames where more
    changes."""
    stride: int = Field(1, ge=1)
    """Frames from one to the next (VideoMAE on Kinetics: 4), for `stride`, `span` and `motion`."""
    distance_power: float | None = Field(None, ge=0)
    """The two crops of a view begin k frames apart, with a density of (1 - k / M) to this power, where M starts fit
    (CVRL: 1; 0: equal chances). Default: each begins where it does."""
    grow_steps: int = Field(0, ge=0)
    """Steps in which the stride grows from 1 to `stride`, so that clips span more and more. Default: at once."""
    scale: Range = (0.5, 1.0)
    """Share of the area that a random part has (MAE-ST: 0.5 to 1)."""
    ratio: Range = (3 / 4, 4 / 3)
    """Width over height of it."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability that all frames are mirrored (MAE-ST: 0.5; VideoMAE: 0). Directions do not survive it."""

    @classmethod
    def example(cls) -> Self:
        return cls()

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Sizes have three sides, or one that is all."""
        for name, view in run.views.items():
            if view.transform is self and not isinstance(view.size, int) and len(view.size) != 3:
                yield Problem("", f"makes clips; set `views.{name}.size: [frames, height, width]`")
            if view.transform is self and self.distance_power is not None and view.crops != 2:
                yield Problem(
                    "distance_power", f"is of two crops; set `views.{name}.crops: 2`, or leave it out"
                )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        for field in ("stride", "distance_power", "grow_steps") if self.sampling == "segments" else ():
            yield Problem(field, "has no effect, as `segments` reach over the whole video; leave it out")
        if self.stride == 1:
            yield Problem("grow_steps", "has no effect with `stride: 1`; set a larger one, or leave this out")

    def build(self, size: Size, learned: str) -> Transform:
        from sslkit_video.clips import Clips, Sampling

        how = Sampling(
            self.sampling,
            self.stride,
            self.scale,
            self.ratio,
            self.flip,
            self.distance_power,
            self.grow_steps,
        )
        return Clips(how, sides_of(size, 3))
