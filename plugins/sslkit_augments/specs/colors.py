"""Specs of color augmentations: jitter, grayscale, blur, solarization. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, final

from pydantic import AfterValidator, BeforeValidator, Field

from sslkit.plugin import AugmentSpec, Problem, Size, sides_of
from sslkit_augments.specs.ranges import Range

if TYPE_CHECKING:
    from sslkit.interfaces import Augment
    from sslkit.plugin import RunSpec


def _kernel(value: str) -> str:
    if value not in ("auto", "tenth") and not (value.isdecimal() and int(value) % 2 and int(value) < 1000):
        raise ValueError("must be 'auto', 'tenth' or an odd number of pixels below 1000")
    return value


Kernel = Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v), AfterValidator(_kernel)]


@final
class ColorJitter(AugmentSpec):
    """Changes brightness, contrast, saturation and hue as torchvision does, with MoCo's numbers.

    Each image has an order of its own. Gray images change in brightness and contrast only. Images of other numbers of
    channels than 1 and 3 take brightness and contrast, with the mean of all channels as their gray value, and refuse
    `saturation` and `hue`.
    """

    oblong: ClassVar[bool] = True
    kind: Literal["color_jitter"] = "color_jitter"
    brightness: float = Field(0.4, ge=0)
    """Values are multiplied by a factor from 1 - this (at least 0) to 1 + this (MoCo: 0.4; SimCLR: 0.8)."""
    contrast: float = Field(0.4, ge=0)
    """Distance from the mean gray value, by such a factor (MoCo: 0.4; SimCLR: 0.8)."""
    saturation: float = Field(0.4, ge=0)
    """Distance from each pixel's gray value, by such a factor (MoCo: 0.4; BYOL, DINO: 0.2; SimCLR: 0.8)."""
    hue: float = Field(0.1, ge=0, le=0.5)
    """Largest turn of the hues either way, as a share of the color circle (MoCo: 0.1; SimCLR: 0.2)."""
    probability: float = Field(0.8, ge=0, le=1)
    """Share of the images that are changed (all references: 0.8; torchvision: 1)."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from never(self.probability, "brightness", "contrast", "saturation", "hue")
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            yield Problem("probability", "has no effect, as all strengths are 0", note=True)

    def channel_problems(self, channels: int) -> Iterator[Problem]:
        if channels not in (1, 3):
            for field in ("saturation", "hue"):
                if getattr(self, field):
                    text = (
                        f"changes red, green and blue, and the images have {channels} channels; set it to 0: "
                        "brightness and contrast change any number of channels"
                    )
                    yield Problem(field, text)

    def build(self, size: Size) -> Augment:
        from sslkit_augments.color_jitter import ColorJitterAugment, Strengths

        strengths = Strengths(self.brightness, self.contrast, self.saturation, self.hue)
        return ColorJitterAugment(strengths, self.probability)


@final
class Grayscale(AugmentSpec):
    """Takes the colors out of some images; the number of channels stays. Gray images stay as they are."""

    oblong: ClassVar[bool] = True
    kind: Literal["grayscale"] = "grayscale"
    probability: float = Field(0.2, ge=0, le=1)
    """Share of the images that become gray (all references: 0.2)."""

    def channel_problems(self, channels: int) -> Iterator[Problem]:
        if channels not in (1, 3):
            yield Problem(
                "",
                f"is a gray value of red, green and blue, and the images have {channels} channels; leave it out",
            )

    def build(self, size: Size) -> Augment:
        from sslkit_augments.grayscale import GrayscaleAugment

        return GrayscaleAugment(self.probability)


@final
class GaussianBlur(AugmentSpec):
    """Blurs some images, each with a width of its own."""

    oblong: ClassVar[bool] = True
    kind: Literal["gaussian_blur"] = "gaussian_blur"
    sigma: Range = (0.1, 2.0)
    """Smallest and largest standard deviation, in pixels (all references: 0.1, 2)."""
    kernel: Kernel = "auto"
    """Pixels a side, an odd number; `tenth`: 10 % of the view (SimCLR, BYOL: 23 of 224); `auto`: all that counts.

    `auto` takes 4 of the largest standard deviations on either side, as PIL's blur (MoCo, DINO) reaches no less far.
    """
    edge: Literal["reflect", "replicate", "zeros"] = "replicate"
    """Outside the image: mirrored (torchvision), its edge repeated (PIL: MoCo, DINO), or black (SimCLR, BYOL)."""
    probability: float = Field(0.5, ge=0, le=1)
    """Share of the images that are blurred (SimCLR, MoCo: 0.5; BYOL, DINO: 1 and 0.1)."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from never(self.probability, "sigma", "kernel", "edge")

    def build(self, size: Size) -> Augment:
        from sslkit_augments.gaussian_blur import GaussianBlurAugment

        return GaussianBlurAugment(self.sigma, self.radius(size), self.edge, self.probability)

    def radius(self, size: Size) -> int:
        """Pixels on either side of the middle one of the kernel, for images of this `size`: of its shorter side."""
        if self.kernel == "auto":
            return math.ceil(4 * self.sigma[1])
        return min(sides_of(size, 2)) // 10 // 2 if self.kernel == "tenth" else int(self.kernel) // 2


@final
class Solarize(AugmentSpec):
    """Inverts the bright values of some images."""

    oblong: ClassVar[bool] = True
    kind: Literal["solarize"] = "solarize"
    threshold: float = Field(0.5, ge=0, le=1)
    """Values from here on are inverted, for pixels in [0, 1] (BYOL: 0.5; PIL's 128 of 255, as in DINO, is the same)."""
    probability: float = Field(0.2, ge=0, le=1)
    """Share of the images that are changed (BYOL, DINO: 0.2 of the second crop)."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from never(self.probability, "threshold")

    def build(self, size: Size) -> Augment:
        from sslkit_augments.solarize import SolarizeAugment

        return SolarizeAugment(self.threshold, self.probability)


def never(probability: float, *fields: str) -> Iterator[Problem]:
    """Fields of a change that no image meets."""
    if not probability:
        for field in fields:
            yield Problem(field, "has no effect, as `probability` is 0", note=True)
