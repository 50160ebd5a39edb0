"""Spec of augmentations that change all frames of a clip alike. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from sslkit.plugin import AugmentField, AugmentSpec, Problem, sides_of

if TYPE_CHECKING:
    from sslkit.interfaces import Augment
    from sslkit.plugin import RunSpec, Size


@final
class TemporallyConsistent(AugmentSpec):
    """An augmentation of images, with the same random numbers for all frames of a clip (CVRL, Qian et al. 2021)."""

    takes: ClassVar[str] = "clip"
    oblong: ClassVar[bool] = True
    unchecked: ClassVar[str] = "it changes clips, and the kit's augmentations change images"
    kind: Literal["temporally_consistent"] = "temporally_consistent"
    augment: AugmentField
    """What changes each frame, such as `{kind: color_jitter}` or `{kind: gaussian_blur}`."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """It changes images, of the sides that frames have."""
        if self.augment.takes != "image":
            yield Problem(
                "augment", f"{self.augment.kind_name()!r} changes {self.augment.takes}; name one of images"
            )

    def channel_problems(self, channels: int) -> Iterator[Problem]:
        yield from self.augment.channel_problems(channels)

    def build(self, size: Size) -> Augment:
        from sslkit_video.temporally_consistent import TemporallyConsistentAugment

        _, height, width = sides_of(size, 3)
        inner = self.augment.build(height if height == width else (height, width))
        return TemporallyConsistentAugment(inner)
