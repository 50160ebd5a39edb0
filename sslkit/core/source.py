"""Data sources: images by index, with labels, attributes, masks and a fingerprint of the content."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.core.fingerprint import fingerprint_of
from sslkit.errors import DataError

TYPES = frozenset({torch.uint8, torch.uint16, torch.int16, torch.float32})
"""Types of images; the whole range of an integer type stands for 0 to 1, as `to_float` reads it."""
SLACK = 1e-5
"""How far floats may lie outside [0, 1]: no more than arithmetic makes."""
_LETTERS = {1: "L", 2: "H, W", 3: "T, H, W"}
"""Axes of a sample besides channels, as messages have them."""
ADVICE = "`to_pixels` of sslkit.interfaces brings other arrays to these"


class Blocks(NamedTuple):
    """Images that lie together in storage, so that it is quicker to read them one soon after the other."""

    sizes: Sequence[int]
    """Images of each block, such as a shard; they count through the source's images."""
    window: int
    """Blocks whose images are mixed with each other, at least 1."""


class Source(ABC):
    """Images by index and, where there are any, labels."""

    channels: int
    """Channels of every image."""
    channel_names: tuple[str, ...] = ()
    """A name for each channel, where the files or the spec have them."""
    labels: Tensor | None
    """`[N]` int64, or None where the images have no labels."""
    classes: tuple[str, ...]
    """Names of the labels; empty without labels."""
    attributes: Mapping[str, Tensor] = {}
    """Further labels by name, each `[N]` int64 from 0, or -1 where it is unknown; for `probing`."""
    attribute_values: Mapping[str, tuple[str, ...]] = {}
    """Names of an attribute's values, in the order of their numbers. Evaluators match those of two sources by name;
    an attribute that is not here is compared by its numbers."""
    regions: tuple[str, ...] = ()
    """Names of the values of masks; empty where images have none."""
    sizes: frozenset[tuple[int, int]] | None = None
    """Every (height, width) that occurs, where that is known without decoding."""

    blocks: Blocks | None = None
    """How images are to be ordered in training. None: over all of them, whatever their place."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def load(self, index: int) -> Tensor:
        """Image `index`, `[C, H, W]`: uint8, uint16 or int16, whose range stands for 0 to 1, or float32 in [0, 1].

        uint8 travels as uint8, everything else is augmented and read as float32. `sslkit.interfaces.to_pixels` brings
        arrays of other types and ranges to one of these.

        Raises:
            DataError: the image cannot be decoded; the message names its file or row.
        """

    def channels_of(self, stream: str) -> int:
        """Channels of every sample of `stream`, a name among the `streams` of its spec. Those of images by default."""
        return self.channels

    def read(self, index: int, stream: str) -> Tensor:
        """Sample `index` of `stream`, `[C, *axes]`, of a type that `load` may give. Text is `[1, L]` uint8, in UTF-8.

        Override it where there is more than one stream; `load` gives the first.

        Raises:
            DataError: the sample is missing or cannot be decoded; the message names its file or row.
        """
        return self.load(index)

    def held(self, stream: str) -> Tensor | Sequence[Tensor] | None:
        """All samples of `stream`, as `read` gives them, where they are in memory: one tensor, or one a sample.

        Default: `resident`, where there is one stream.
        """
        return self.resident() if type(self).read is Source.read else None

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the content: samples of all streams in their order, labels, class names, attributes and masks.

        The same content at another place has the same one, and any other content another one. Kept features are found
        by it, results are compared by it, and a resumed run is held against it: names, sizes or times of files do not
        do. Where a source has `digests`, this is made of them, the labels and the like; `fingerprint_of` adds settings
        of its own. A source may also set it as an attribute.

        Raises:
            PluginError: the source neither sets it nor has digests.
        """
        return fingerprint_of(self)

    def digests(self) -> NDArray[np.uint8] | None:
        """`[N, 16]`, a hash of each image as it is stored, so that a resumed run can say which images changed.

        None where the source has none; the run can then only say that something did.
        """
        return None

    def encoded(self, index: int) -> tuple[bytes, str] | None:
        """Image `index` as its file or row holds it, encoded, and its name; None where images are held decoded.

        Raises:
            DataError: it cannot be read.
        """
        return None

    def file_faults(self) -> Iterable[tuple[str, str]]:
        """(file, what is wrong) of files that are not as their checksums say; nothing where no checksums are kept.

        Raises:
            DataError: the checksums cannot be read.
        """
        return ()

    def name(self, index: int) -> str:
        """Display name of image `index`: its file, or its row."""
        return str(index)

    def mask(self, index: int) -> Tensor | None:
        """What each pixel of image `index` shows, `[H, W]` uint8, places in `regions`; 255 where that is unknown.

        Those of a video are `[T, H, W]`. None where images have no masks.

        Raises:
            DataError: the mask cannot be read, or is not of the image's size.
        """
        return None

    def resident(self) -> Tensor | None:
        """All images as one tensor `[N, C, H, W]` of the type that `load` gives, where they fit in memory.

        None where they are of several sizes or types, or too many.
        """
        return None


def readable_samples(source: Source, stream: str) -> Iterator[Tensor]:
    """The samples of `stream` that can be read, in order, for transforms that learn from them."""
    for index in range(len(source)):
        try:
            yield source.read(index, stream)
        except DataError:
            continue


def pixels(images: Tensor, channels: int, axes: int = 2) -> Tensor:
    """`images` `[..., C, *axes]`, where they are what a source gives: of one of `TYPES`, with as many `channels`.

    Anything else would be wrapped, cut off or taken for black somewhere between the source and the network.

    Raises:
        DataError: they are not, or are floats outside [0, 1].
    """
    problem = pixel_problem(images, channels, axes)
    if problem:
        raise DataError(f"a source gives images as {problem}")
    return images


def pixel_problem(images: Tensor, channels: int, axes: int = 2) -> str:
    """What a source gives, and how `images` differ from it; empty where they do not."""
    letters = _LETTERS.get(axes, f"{axes} axes")
    expected = f"uint8, uint16, int16 or float32 (0 to 1), [{channels}, {letters}], but this"
    if images.dtype not in TYPES or images.ndim < axes + 1 or images.shape[-1 - axes] != channels:
        advice = "" if images.dtype in TYPES else f"; {ADVICE}"
        return f"{expected} is {images.dtype} {tuple(images.shape[-1 - axes :])}{advice}"
    if images.is_floating_point() and images.numel():
        low, high = (float(end) for end in images.aminmax())
        if not (low >= -SLACK and high <= 1 + SLACK):  # NaN is neither
            return f"{expected} has values from {low:.4g} to {high:.4g}; {ADVICE}"
    return ""
