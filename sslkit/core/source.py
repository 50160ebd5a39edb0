"""Sources: where images and labels come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor


class Source(ABC):
    """Images by index and, where there are any, labels."""

    channels: int
    """Channels of every image."""
    labels: Tensor | None
    """`[N]` int64, or None where the images have no labels."""
    classes: tuple[str, ...]
    """Names of the labels; empty without labels."""
    fingerprint: str
    """Identifies the content; equal for equal images and labels."""
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

    def name(self, index: int) -> str:
        """What people call image `index`: its file, or its row."""
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
