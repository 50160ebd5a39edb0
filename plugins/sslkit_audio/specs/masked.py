"""Specs of masks in time and frequency, and of AudioMAE. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    MaskerField,
    MaskerSpec,
    ObjectiveField,
    ObjectiveSpec,
    Problem,
    SpecError,
    TargetField,
    ViewName,
    slot_default,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Masker, Objective
    from sslkit.plugin import Env, RunSpec


@final
class TimeFrequencyMasker(MaskerSpec):
    """Hides whole rows (time) and whole columns (frequency) of patches: AudioMAE's `random_masking_2d`."""

    kind: Literal["time_frequency"] = "time_frequency"
    time: float = Field(0.7, ge=0, lt=1)
    """Share of the time steps that is hidden in all frequencies (AudioMAE's command line: 0.7; its class: 0.6)."""
    frequency: float = Field(0.3, ge=0, lt=1)
    """Share of the frequencies that is hidden at all times (AudioMAE's command line: 0.3; its class: 0.5)."""

    @classmethod
    def example(cls) -> Self:
        return cls(time=0.5, frequency=0.3)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """One of the two hides something."""
        if not self.time and not self.frequency:
            yield Problem("time", "and `frequency` are 0, so that nothing is hidden; raise one of them")

    def kept(self, rows: int, cols: int) -> tuple[int, int]:
        """Time steps and frequencies that stay: floor(count (1 - share)), computed exactly."""
        shares = (self.time, self.frequency)
        rest, bands = (
            math.floor(count * (1 - Fraction(str(share))))
            for count, share in zip((rows, cols), shares, strict=True)
        )
        return rest, bands

    def build(self, env: Env, view: str) -> Masker:
        from sslkit_audio.time_frequency import TimeFrequencySampler

        grid = env.grid(view)
        kept = self.kept(grid.rows, grid.cols)
        if 0 in kept or kept == (grid.rows, grid.cols):
            what = "nothing stays visible" if 0 in kept else "nothing is hidden"
            raise SpecError(
                f"time {self.time} and frequency {self.frequency} of {grid} patches: {what}; change a share"
            )
        return TimeFrequencySampler((grid.rows, grid.cols), kept)


@final
class AudioMAE(ObjectiveSpec):
    """AudioMAE (Huang et al. 2022): `mae` of spectrograms with its ratio of 0.8.

    The decoder is MAE's transformer, as AudioMAE's `decoder_mode 0`; its recipe's 16 Swin blocks are not offered.
    """

    kind: Literal["audiomae"] = "audiomae"
    view: ViewName = "global"
    """View whose spectrograms are masked."""
    masker: MaskerField = slot_default("random", ratio=0.8)
    """Which patches to hide; the visible count must be fixed (AudioMAE: random, 0.8; `time_frequency` is its other)."""
    target: TargetField = slot_default("normalized_pixel")
    """What to predict (AudioMAE's recipe: energies normalized by patch)."""
    depth: int = Field(8, ge=0)
    """Blocks of the decoder (AudioMAE: 8, of `decoder_mode 0`)."""
    width: int = Field(512, ge=4, multiple_of=4)
    """Width of its tokens (AudioMAE: 512)."""
    heads: int = Field(16, ge=1)
    """Its attention heads (AudioMAE: 16); they divide the width."""

    @classmethod
    def example(cls) -> Self:
        return cls(masker={"kind": "random", "ratio": 0.75}, depth=1, width=16, heads=2)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.width % self.heads:
            yield Problem("heads", f"{self.heads} heads do not divide the width {self.width}")

    def build(self, env: Env) -> Objective:
        from pydantic import TypeAdapter

        decoder = {"depth": self.depth, "width": self.width, "heads": self.heads}
        fields = {
            "kind": "mae",
            "view": self.view,
            "masker": self.masker,
            "target": self.target,
            "decoder": decoder,
        }
        mae: ObjectiveSpec = TypeAdapter(ObjectiveField).validate_python(fields)
        return mae.build(env)
