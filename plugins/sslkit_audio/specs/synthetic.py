"""Spec of `synthetic_sounds`. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import SourceSpec, Stream
from sslkit_audio.specs.streams import STREAMS

if TYPE_CHECKING:
    from sslkit.interfaces import Source


@final
class SyntheticSounds(SourceSpec):
    """Synthesized sounds of eight kinds in noise, made from the seed: no download. Labels: the kind.

    Attributes: `pitch_class` (12, C to B) of the fundamental, and `onset` (early, middle, late).
    """

    kind: Literal["synthetic_sounds"] = "synthetic_sounds"
    train: int = Field(2048, ge=8)
    """Sounds to train on."""
    test: int = Field(512, ge=8)
    """Sounds of the test split."""
    seconds: float = Field(1.0, ge=0.1, le=60)
    """Length of each sound."""
    rate: int = Field(16_000, ge=8_000, le=192_000)
    """Samples a second."""
    noise: float = Field(0.05, ge=0, le=1)
    """Most of the amplitude of white noise under a sound, whose own amplitude is 0.2 to 0.8."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the sounds. It is not the run's, so that runs of all seeds are scored on the same ones."""

    @classmethod
    def example(cls) -> Self:
        return cls(train=16, test=16, seconds=0.1)

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def build(self, split: str) -> Source:
        from sslkit_audio.synthetic_sounds import SyntheticSource

        count = self.train if split == "train" else self.test
        return SyntheticSource(split, count, self.seconds, self.rate, self.noise, self.seed)
