"""Data sources: images by index, with labels, attributes, masks and a fingerprint of the content."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.core.fingerprint import fingerprint_of
from sslkit.errors import DataError


class Source(ABC):
    """Images by index and, where there are any, labels."""

    channels: int
    """Channels of every image."""
    labels: Tensor | None
    """`[N]` int64, or None where the images have no labels."""
    classes: tuple[str, ...]
    """Names of the labels; empty without labels."""
    attributes: Mapping[str, Tensor] = {}
    """Further labels by name, each `[N]` int64 from 0, or -1 where it is unknown; for `probing`."""
    regions: tuple[str, ...] = ()
    """Names of the values of masks; empty where images have none."""
    sizes: frozenset[tuple[int, int]] | None = None
    """Every (height, width) that occurs, where that is known without decoding."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def load(self, index: int) -> Tensor:
        """Image `index`, `[C, H, W]` uint8.

        Raises:
            DataError: the image cannot be decoded; the message names its file or row.
        """

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the content: images in their order, labels, class names, attributes and masks.

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

    def name(self, index: int) -> str:
        """Display name of image `index`: its file, or its row."""
        return str(index)

    def mask(self, index: int) -> Tensor | None:
        """What each pixel of image `index` shows, `[H, W]` uint8, places in `regions`; 255 where that is unknown.

        None where images have no masks.

        Raises:
            DataError: the mask cannot be read, or is not of the image's size.
        """
        return None

    def resident(self) -> Tensor | None:
        """All images as one `[N, C, H, W]` uint8 tensor, where they are of one size and fit in memory."""
        return None


def pixels(images: Tensor, channels: int) -> Tensor:
    """`images` `[..., C, H, W]`, where they are what a source gives: uint8 with as many `channels`.

    Anything else would be wrapped, cut off or taken for black somewhere between the source and the network.

    Raises:
        DataError: they are not.
    """
    if images.dtype == torch.uint8 and images.ndim >= 3 and images.shape[-3] == channels:
        return images
    if images.dtype.is_floating_point:
        advice = "; bring floats to 0 to 255 and round them"
    else:
        advice = (
            "" if images.dtype == torch.uint8 else "; divide 16-bit values by 257, and convert the others"
        )
    shape = tuple(images.shape[-3:])
    raise DataError(
        f"a source gives images as uint8 of 0 to 255, [{channels}, H, W], but this is {images.dtype} {shape}{advice}"
    )
