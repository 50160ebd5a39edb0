"""Specs of augmentations that cut, resize, flip or turn. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, final

from pydantic import AfterValidator, Field

from sslkit.plugin import AugmentSpec, Problem, Size
from sslkit_augments.specs.ranges import Range

if TYPE_CHECKING:
    from sslkit.interfaces import Augment
    from sslkit.plugin import RunSpec


def _within_image(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] > 1:
        raise ValueError(f"shares of the image's area are at most 1, found {list(value)}")
    return value


Shares = Annotated[Range, AfterValidator(_within_image)]


@final
class RandomResizedCrop(AugmentSpec):
    """A random part of each image, resized to the view (torchvision's algorithm, MAE's numbers)."""

    oblong: ClassVar[bool] = True
    kind: Literal["random_resized_crop"] = "random_resized_crop"
    scale: Shares = (0.2, 1.0)
    """Smallest and largest share of the image's area (MAE: 0.2, 1; SimMIM: 0.67, 1; torchvision: 0.08, 1)."""
    ratio: Range = (3 / 4, 4 / 3)
    """Smallest and largest width / height, over that of the view (torchvision)."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Resampling kernel, antialiased (MAE: bicubic; torchvision: bilinear)."""

    def build(self, size: Size) -> Augment:
        from sslkit_augments.crop import RandomResizedCropAugment

        return RandomResizedCropAugment(size, self.scale, self.ratio, self.interpolation)


@final
class Resize(AugmentSpec):
    """The center of each image, as large as fits in the shape of the view, resized. Nothing in it is random."""

    random: ClassVar[bool] = False
    oblong: ClassVar[bool] = True
    kind: Literal["resize"] = "resize"
    crop: float = Field(1.0, gt=0, le=1)
    """Share of the sides that the center keeps (ImageNet evaluation: 0.875)."""

    def build(self, size: Size) -> Augment:
        from sslkit_augments.crop import ResizeAugment

        return ResizeAugment(size, self.crop)


@final
class HorizontalFlip(AugmentSpec):
    """Swaps left and right of some images."""

    oblong: ClassVar[bool] = True
    kind: Literal["flip"] = "flip"
    probability: float = Field(0.5, ge=0, le=1)
    """Share of the images that are mirrored (MAE: 0.5)."""

    def build(self, size: Size) -> Augment:
        from sslkit_augments.flip import HorizontalFlipAugment

        return HorizontalFlipAugment(self.probability)


@final
class RandomAffine(AugmentSpec):
    """Small slants, rotations and scalings about the center, and shifts; bilinear."""

    oblong: ClassVar[bool] = True
    kind: Literal["random_affine"] = "random_affine"
    degrees: float = Field(10.0, ge=0, le=180)
    """Largest rotation either way, in degrees."""
    translate: float = Field(0.1, ge=0, le=1)
    """Largest shift either way, as a share of width and of height."""
    scale: Range = (0.9, 1.1)
    """Smallest and largest magnification."""
    shear: float = Field(0.0, ge=0, lt=90)
    """Largest slant of vertical lines either way, in degrees, as one number means for torchvision's `RandomAffine`."""
    padding: Literal["zeros", "border"] = "zeros"
    """What lies outside the image: black, or its edge repeated."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if not (self.degrees or self.translate or self.shear) and self.scale == (1.0, 1.0):
            yield Problem(
                "padding", "has no effect, as nothing is turned, shifted, scaled or slanted", note=True
            )

    def build(self, size: Size) -> Augment:
        from sslkit_augments.affine import RandomAffineAugment

        return RandomAffineAugment(self.degrees, self.translate, self.scale, self.padding, self.shear)
