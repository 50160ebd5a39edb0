"""A source of images with a caption beside each: the streams `image` and `caption`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Source, bytes_of, digest, fingerprint_of, stacked
from sslkit.plugin import DataError

CAPTION = "caption"
"""Name of the stream of texts."""
BETWEEN = "\0"
"""What stands between several captions of one image; a tokenizer chooses one of them."""


@final
class CaptionedSource(Source):
    """The images of another source, each with one caption or several."""

    def __init__(self, images: Source, captions: Sequence[str] | Callable[[int], str]) -> None:
        """`captions`: all of them, or what reads that of an image when it is asked for."""
        self.images = images
        self._captions = captions
        self.channels, self.channel_names = images.channels, images.channel_names
        self.labels, self.classes = images.labels, images.classes
        self.attributes, self.attribute_values = images.attributes, images.attribute_values
        self.regions, self.sizes, self.blocks = images.regions, images.sizes, images.blocks

    def __len__(self) -> int:
        return len(self.images)

    def caption(self, index: int) -> str:
        """The caption of image `index`; several stand with `BETWEEN` between them.

        Raises:
            DataError: it is missing, empty or cannot be read.
        """
        captions = self._captions
        text = captions(index) if callable(captions) else captions[index]
        if not text.strip():
            raise DataError(f"{self.name(index)}: has no caption")
        return text

    def channels_of(self, stream: str) -> int:
        return 1 if stream == CAPTION else self.channels

    def load(self, index: int) -> Tensor:
        return self.images.load(index)

    def read(self, index: int, stream: str) -> Tensor:
        return bytes_of(self.caption(index)) if stream == CAPTION else self.load(index)

    def held(self, stream: str) -> Tensor | Sequence[Tensor] | None:
        """Images where their source has them in memory, and texts where they are all there."""
        if stream != CAPTION:
            return self.resident()
        if callable(self._captions) or not all(text.strip() for text in self._captions):
            return None
        return [bytes_of(text) for text in self._captions]

    @cached_property
    def fingerprint(self) -> str:
        """Over images, captions, labels, and what else the source of images counts."""
        return fingerprint_of(self, self.images.fingerprint)

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]`, each over an image, as far as its source has digests, and its caption."""
        images = self.images.digests()
        rows = [b""] * len(self) if images is None else [row.tobytes() for row in images]
        return stacked([digest(row + self._text(i).encode()) for i, row in enumerate(rows)])

    def _text(self, index: int) -> str:
        """The caption; nothing where it cannot be read, as such an image is left out of training anyway."""
        try:
            return self.caption(index)
        except DataError:
            return ""

    def encoded(self, index: int) -> tuple[bytes, str] | None:
        return self.images.encoded(index)

    def name(self, index: int) -> str:
        """That of the image."""
        return self.images.name(index)

    def mask(self, index: int) -> Tensor | None:
        return self.images.mask(index)

    def resident(self) -> Tensor | None:
        return self.images.resident()
