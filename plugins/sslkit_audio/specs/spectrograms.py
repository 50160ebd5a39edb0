"""Specs of spectrograms and of their augmentations. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import AfterValidator, Field

from sslkit.plugin import AugmentSpec, Problem, TransformSpec, sides_of
from sslkit_audio.specs.streams import AUDIO, SPECTROGRAM

if TYPE_CHECKING:
    from sslkit.interfaces import Augment, Transform
    from sslkit.plugin import RunSpec, Size


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] >= value[1]:
        raise ValueError(f"expected [low, high] with low < high, found {list(value)}")
    return value


LogRange = Annotated[tuple[float, float], AfterValidator(_ordered)]
RANGE = (-16.0, 16.0)
"""The least log energy of Kaldi is -15.94; a full-scale tone has about 12."""


@final
class LogMel(TransformSpec):
    """Log-mel spectrogram with Kaldi's parameters, as AudioMAE's: a view of `size: [frames, bins]`.

    Windows of 25 ms (Hann) every 10 ms, DC removed, pre-emphasis 0.97, power spectrum, triangular filters from
    20 Hz to half the rate, natural logarithm. Sounds are cut at the end or padded behind it with log energy 0.
    """

    takes: ClassVar[str] = AUDIO
    gives: ClassVar[str] = SPECTROGRAM
    random: ClassVar[bool] = False
    kind: Literal["log_mel"] = "log_mel"
    rate: int = Field(16_000, ge=1_000)
    """Samples a second of the sounds; that of the source (AudioMAE: 16,000)."""
    range: LogRange = RANGE
    """Log energies that become 0 and 1, beyond which they are cut off. `normalize` counts in these:
    mean m and deviation s of log energies are `(m - low) / (high - low)` and `s / (high - low)`."""

    @classmethod
    def example(cls) -> Self:
        return cls()

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The source has sounds of this rate."""
        rate = getattr(run.data, "rate", self.rate)
        if rate != self.rate:
            yield Problem(
                "rate", f"is {self.rate}, but the sounds have {rate} samples a second; make them equal"
            )

    def build(self, size: Size, learned: str) -> Transform:
        from sslkit_audio.log_mel import LogMelTransform

        frames, bins = sides_of(size, 2)
        return LogMelTransform(frames, bins, self.rate, self.range)


@final
class SpecAugment(AugmentSpec):
    """Bands of time and of frequency are blanked (Park et al. 2019), without time warping."""

    takes: ClassVar[str] = SPECTROGRAM
    oblong: ClassVar[bool] = True
    kind: Literal["spec_augment"] = "spec_augment"
    times: int = Field(1, ge=0)
    """Bands of time (AST: 1)."""
    time_width: int = Field(192, ge=1)
    """Most frames of one (AST on AudioSet: 192 of 1,024)."""
    frequencies: int = Field(1, ge=0)
    """Bands of frequency (AST: 1)."""
    frequency_width: int = Field(48, ge=1)
    """Most mel bins of one (AST on AudioSet: 48 of 128)."""
    fill: float = Field(0.5, ge=0, le=1)
    """Value inside; 0.5 is log energy 0 of the default `range` of `log_mel`, as in AST."""

    @classmethod
    def example(cls) -> Self:
        return cls(time_width=8, frequency_width=8)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        for field, bands in (("time_width", "times"), ("frequency_width", "frequencies")):
            if not getattr(self, bands):
                yield Problem(field, f"has no effect with `{bands}: 0`; leave it out")

    def build(self, size: Size) -> Augment:
        from sslkit_audio.spectrogram_changes import SpecAugmentMasks

        return SpecAugmentMasks(
            (self.times, self.time_width), (self.frequencies, self.frequency_width), self.fill
        )


@final
class TimeRoll(AugmentSpec):
    """Time is turned around: what leaves at one end enters at the other."""

    takes: ClassVar[str] = SPECTROGRAM
    oblong: ClassVar[bool] = True
    kind: Literal["time_roll"] = "time_roll"
    most: float = Field(0.5, gt=0, le=0.5)
    """Most of the shift, either way, as a share of the length."""

    @classmethod
    def example(cls) -> Self:
        return cls()

    def build(self, size: Size) -> Augment:
        from sslkit_audio.spectrogram_changes import TimeRollChange

        return TimeRollChange(self.most)


@final
class Gain(AugmentSpec):
    """All energies rise or fall alike, as if the sound were louder or softer; padding too."""

    takes: ClassVar[str] = SPECTROGRAM
    oblong: ClassVar[bool] = True
    kind: Literal["gain"] = "gain"
    decibels: float = Field(6.0, gt=0, le=60)
    """Most of the change, either way (AudioMAE's amplitudes of 0.5 to 1.5: -6 to 3.5)."""
    range: LogRange = RANGE
    """That of the view's `log_mel`."""

    @classmethod
    def example(cls) -> Self:
        return cls()

    def build(self, size: Size) -> Augment:
        from sslkit_audio.spectrogram_changes import GainChange

        return GainChange(self.decibels, self.range[1] - self.range[0])
