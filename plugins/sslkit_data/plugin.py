"""Specs of the built-in data sources and augmentations. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import AfterValidator, BeforeValidator, Field

from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Problem, Spec
from sslkit.spec.families import AugmentSpec, SourceSpec
from sslkit_data import listing
from sslkit_data.segmentation_spec import Segmentation
from sslkit_data.turn_spec import Turn

if TYPE_CHECKING:
    from torch import Tensor

    from sslkit.core.augment import Augment
    from sslkit.core.source import Source
    from sslkit.spec.run import RunSpec

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1]:
        raise ValueError(f"a range is [low, high] with 0 < low <= high, found {list(value)}")
    return value


def _within_image(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] > 1:
        raise ValueError(f"shares of the image's area are at most 1, found {list(value)}")
    return value


def _dotted(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value):
        raise ValueError("an extension is a text such as '.png', found ''")
    return tuple(f".{extension.lower().lstrip('.')}" for extension in value)


def _kernel(value: str) -> str:
    if value not in ("auto", "tenth") and not (value.isdecimal() and int(value) % 2 and int(value) < 1000):
        raise ValueError("must be 'auto', 'tenth' or an odd number of pixels below 1000")
    return value


Kernel = Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v), AfterValidator(_kernel)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Shares = Annotated[Range, AfterValidator(_within_image)]
Extensions = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_dotted)]


@final
class Digits(SourceSpec):
    """Scikit-learn's 1,797 handwritten digits, 8 x 8 grey, 10 classes; installed with it, so no download."""

    kind: Literal["digits"] = "digits"
    test_share: float = Field(0.2, ge=0.01, le=0.9)
    """Share of the images, the same in every class, that makes the test split."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the split. It is not the run's, so that runs of all seeds are scored on the same images."""

    def build(self, split: str) -> Source:
        """The images of `split`, in memory."""
        from sslkit_data.digits import digits

        return digits(split, self.test_share, self.split_seed)


@final
class Folder(SourceSpec):
    """Image files in a folder: class folders give the labels; loose files are unlabelled images."""

    unchecked: ClassVar[str] = "it reads a folder of images"
    kind: Literal["folder"] = "folder"
    root: Path
    """Folder of class folders (images at any depth below them), or of images. Hidden names are skipped."""
    test: Path | None = None
    """Folder of the test split, with the same classes. Default: there is no test split."""
    channels: Literal[1, 3] = 3
    """Channels of every image."""
    convert: bool = True
    """Bring grey, palette, alpha and CMYK images to `channels`; false: such an image is an error."""
    extensions: Extensions = EXTENSIONS
    """File names that count as images, by their end; upper and lower case are the same."""
    attributes: Path | None = None
    """CSV file of further labels, for `probing`: a column `path` (below `root`) and one for each attribute."""
    test_attributes: Path | None = None
    """The same for the test split, its paths below `test`. Default: `attributes` names those images too."""

    @classmethod
    def example(cls) -> Self | None:
        """None: there are no such files."""
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The folders must exist and hold an image."""
        for field, root in (("root", self.root), ("test", self.test)):
            message = listing.folder_problem(root.expanduser(), self.extensions) if root else None
            if message:
                yield Problem(field, message)
        for field, table in (("attributes", self.attributes), ("test_attributes", self.test_attributes)):
            if table and not table.expanduser().is_file():
                yield Problem(field, f"{table}: no such file; expected a CSV file with a column 'path'")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """A table of the test split, without that split or without one of the training images."""
        for field in ("test", "attributes"):
            if getattr(self, field) is None:
                yield Problem(
                    "test_attributes", f"has no effect without `{field}`; give that too, or leave this out"
                )

    def build(self, split: str) -> Source | None:
        """The images of `split`, decoded from their files when asked for."""
        from sslkit_data.decode import Decoder
        from sslkit_data.folder import FolderSource

        root = self.root if split == "train" else self.test
        if root is None:
            return None
        root = root.expanduser()
        classes = () if split == "train" else listing.class_names(self.root.expanduser(), self.extensions)
        found = listing.list_folder(root, self.extensions, classes)
        attributes = self._attributes(split, found)
        return FolderSource(root, found, Decoder(self.channels, self.convert), attributes)

    def _attributes(self, split: str, found: listing.Listing) -> dict[str, Tensor]:
        """Attributes of the images of `split`; their values are those of the training images."""
        from sslkit_data.attributes import encode, names_of, read_csv

        if self.attributes is None:
            return {}
        first, own = self.attributes.expanduser(), (self.test_attributes or self.attributes).expanduser()
        train = found
        if split != "train":
            train = listing.list_folder(self.root.expanduser(), self.extensions)
        columns = read_csv(first, train.files)
        names = {column: names_of(values) for column, values in columns.items()}
        if split != "train":
            columns = read_csv(own, found.files)
        return encode(columns, names, str(own if split != "train" else first))


@final
class CIFAR10(SourceSpec):
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes, 32 x 32. Never downloaded."""

    unchecked: ClassVar[str] = "it reads the files of CIFAR-10"
    kind: Literal["cifar10"] = "cifar10"
    root: Path
    """Folder with `cifar-10-batches-py/` (torchvision's layout), or with `*train*.parquet`, `*test*.parquet`.

    The parquet files have the columns `img` and `label` (the Hugging Face layout).
    """
    limit: int | None = Field(None, ge=1)
    """Use the first images of each split only, for quick looks. Default: all."""

    @classmethod
    def example(cls) -> Self | None:
        """None: there are no such files."""
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The files must be there."""
        message = listing.cifar10_problem(self.root.expanduser(), "train")
        if message:
            yield Problem("root", message)

    def build(self, split: str) -> Source:
        """The images of `split`, in memory."""
        from sslkit_data.cifar10 import cifar10

        return cifar10(self.root.expanduser(), split, self.limit)


@final
class Parquet(SourceSpec):
    """Encoded images in the rows of parquet files, as on the Hugging Face hub. Their bytes stay in memory."""

    unchecked: ClassVar[str] = "it reads parquet files of images"
    kind: Literal["parquet"] = "parquet"
    files: Path
    """A file, a folder of `*.parquet` at any depth, or a pattern such as `data/train-*.parquet`."""
    test: Path | None = None
    """The test split, in the same way. Default: there is no test split."""
    image_column: str = "image"
    """Column of the encoded images: binary, or a struct with a field `bytes`."""
    label_column: str | None = "label"
    """Column of the labels: integers from 0, or class names. null: the images have no labels."""
    attributes: tuple[str, ...] = ()
    """Columns of further labels, for `probing`: whole numbers, truth values or text; empty cells are unknown."""
    channels: Literal[1, 3] = 3
    """Channels of every image."""
    convert: bool = True
    """Bring grey, palette, alpha and CMYK images to `channels`; false: such an image is an error."""

    @classmethod
    def example(cls) -> Self | None:
        """None: there are no such files."""
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The files must exist and belong to one split."""
        for field, files in (("files", self.files), ("test", self.test)):
            message = listing.parquet_problem(files.expanduser()) if files else None
            if message:
                yield Problem(field, message)

    def build(self, split: str) -> Source | None:
        """The images of `split`, decoded from their bytes when asked for."""
        from sslkit_data.decode import Decoder
        from sslkit_data.parquet import Columns, parquet

        files = self.files if split == "train" else self.test
        if files is None:
            return None
        columns = Columns(self.image_column, self.label_column, self.attributes)
        decoder = Decoder(self.channels, self.convert)
        return parquet(files.expanduser(), columns, decoder, self.files.expanduser())


@final
class RandomResizedCrop(AugmentSpec):
    """A random part of each image, resized to the view (torchvision's algorithm, MAE's numbers)."""

    kind: Literal["random_resized_crop"] = "random_resized_crop"
    scale: Shares = (0.2, 1.0)
    """Smallest and largest share of the image's area (MAE: 0.2, 1; SimMIM: 0.67, 1; torchvision: 0.08, 1)."""
    ratio: Range = (3 / 4, 4 / 3)
    """Smallest and largest width / height (torchvision)."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Resampling kernel, antialiased (MAE: bicubic; torchvision: bilinear)."""

    def build(self, size: int) -> Augment:
        """The crop to `size` x `size`."""
        from sslkit_data.crop import RandomResizedCropAugment

        return RandomResizedCropAugment(size, self.scale, self.ratio, self.interpolation)


@final
class Resize(AugmentSpec):
    """The central square of each image, resized to the view. Nothing in it is random."""

    kind: Literal["resize"] = "resize"
    crop: float = Field(1.0, gt=0, le=1)
    """Share of the shorter side that the square keeps (ImageNet evaluation: 0.875)."""

    def build(self, size: int) -> Augment:
        """The resize to `size` x `size`."""
        from sslkit_data.crop import ResizeAugment

        return ResizeAugment(size, self.crop)


@final
class HorizontalFlip(AugmentSpec):
    """Swaps left and right of some images."""

    kind: Literal["flip"] = "flip"
    probability: float = Field(0.5, ge=0, le=1)
    """Share of the images that are mirrored (MAE: 0.5)."""

    def build(self, size: int) -> Augment:
        """The flip, for any size."""
        from sslkit_data.flip import HorizontalFlipAugment

        return HorizontalFlipAugment(self.probability)


@final
class RandomAffine(AugmentSpec):
    """Small rotations and scalings about the centre, and shifts; bilinear."""

    kind: Literal["random_affine"] = "random_affine"
    degrees: float = Field(10.0, ge=0, le=180)
    """Largest rotation either way, in degrees."""
    translate: float = Field(0.1, ge=0, le=1)
    """Largest shift either way, as a share of width and of height."""
    scale: Range = (0.9, 1.1)
    """Smallest and largest magnification."""
    padding: Literal["zeros", "border"] = "zeros"
    """What lies outside the image: black, or its edge repeated."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """What lies outside, where nothing moves."""
        if not (self.degrees or self.translate) and self.scale == (1.0, 1.0):
            yield Problem("padding", "has no effect, as nothing is turned, shifted or scaled", note=True)

    def build(self, size: int) -> Augment:
        """The map, for any size."""
        from sslkit_data.affine import RandomAffineAugment

        return RandomAffineAugment(self.degrees, self.translate, self.scale, self.padding)


@final
class ColorJitter(AugmentSpec):
    """Changes brightness, contrast, saturation and hue as torchvision does, with MoCo's numbers.

    Each image has an order of its own. Grey images change in brightness and contrast only.
    """

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: float = Field(0.4, ge=0)
    """Values are multiplied by a factor from 1 - this (at least 0) to 1 + this (MoCo: 0.4; SimCLR: 0.8)."""
    contrast: float = Field(0.4, ge=0)
    """Distance from the mean grey value, by such a factor (MoCo: 0.4; SimCLR: 0.8)."""
    saturation: float = Field(0.4, ge=0)
    """Distance from each pixel's grey value, by such a factor (MoCo: 0.4; BYOL, DINO: 0.2; SimCLR: 0.8)."""
    hue: float = Field(0.1, ge=0, le=0.5)
    """Largest turn of the hues either way, as a share of the colour circle (MoCo: 0.1; SimCLR: 0.2)."""
    probability: float = Field(0.8, ge=0, le=1)
    """Share of the images that are changed (all references: 0.8; torchvision: 1)."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """How to change what never changes."""
        yield from _never(self.probability, "brightness", "contrast", "saturation", "hue")
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            yield Problem("probability", "has no effect, as all strengths are 0", note=True)

    def build(self, size: int) -> Augment:
        """The changes, for any size."""
        from sslkit_data.color_jitter import ColorJitterAugment, Strengths

        strengths = Strengths(self.brightness, self.contrast, self.saturation, self.hue)
        return ColorJitterAugment(strengths, self.probability)


@final
class Grayscale(AugmentSpec):
    """Takes the colours out of some images; the number of channels stays. Grey images stay as they are."""

    kind: Literal["grayscale"] = "grayscale"
    probability: float = Field(0.2, ge=0, le=1)
    """Share of the images that become grey (all references: 0.2)."""

    def build(self, size: int) -> Augment:
        """The change, for any size."""
        from sslkit_data.grayscale import GrayscaleAugment

        return GrayscaleAugment(self.probability)


@final
class GaussianBlur(AugmentSpec):
    """Blurs some images, each with a width of its own."""

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
        """How to blur what is never blurred."""
        yield from _never(self.probability, "sigma", "kernel", "edge")

    def build(self, size: int) -> Augment:
        """The blur for images of `size` pixels."""
        from sslkit_data.gaussian_blur import GaussianBlurAugment

        return GaussianBlurAugment(self.sigma, self.radius(size), self.edge, self.probability)

    def radius(self, size: int) -> int:
        """Pixels on either side of the middle one of the kernel, for images of `size` pixels."""
        if self.kernel == "auto":
            return math.ceil(4 * self.sigma[1])
        return size // 10 // 2 if self.kernel == "tenth" else int(self.kernel) // 2


@final
class Solarize(AugmentSpec):
    """Inverts the bright values of some images."""

    kind: Literal["solarize"] = "solarize"
    threshold: float = Field(0.5, ge=0, le=1)
    """Values from here on are inverted, for pixels in [0, 1] (BYOL: 0.5; PIL's 128 of 255, as in DINO, is the same)."""
    probability: float = Field(0.2, ge=0, le=1)
    """Share of the images that are changed (BYOL, DINO: 0.2 of the second crop)."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """How to solarize what is never solarized."""
        yield from _never(self.probability, "threshold")

    def build(self, size: int) -> Augment:
        """The change, for any size."""
        from sslkit_data.solarize import SolarizeAugment

        return SolarizeAugment(self.threshold, self.probability)


def _never(probability: float, *fields: str) -> Iterator[Problem]:
    """Fields of a change that no image meets."""
    if not probability:
        for field in fields:
            yield Problem(field, "has no effect, as `probability` is 0", note=True)


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The sources and augmentations of this package."""
    sources: list[type[Spec]] = [Digits, Folder, CIFAR10, Parquet, Segmentation]
    shapes: list[type[Spec]] = [RandomResizedCrop, Resize, HorizontalFlip, RandomAffine, Turn]
    return [*sources, *shapes, ColorJitter, Grayscale, GaussianBlur, Solarize]
