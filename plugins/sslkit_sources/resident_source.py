"""In-memory source."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Source, digest, stacked


@final
class ResidentSource(Source):
    """Images of one size as one tensor."""

    def __init__(
        self, images_NCHW: Tensor, labels_N: Tensor | None, classes: tuple[str, ...], title: str
    ) -> None:
        """`images_NCHW` as `Source.load` gives them, `labels_N` int64; `title` names the source in messages."""
        self.images = images_NCHW.contiguous()
        self.labels: Tensor | None = labels_N
        self.classes = classes
        self.channels = images_NCHW.shape[1]
        self.sizes = frozenset({(images_NCHW.shape[2], images_NCHW.shape[3])})
        self.title = title

    @cached_property
    def fingerprint(self) -> str:
        """Over pixels, labels and classes."""
        whole = hashlib.blake2b(self.images.numpy().data, digest_size=16)
        whole.update(b"" if self.labels is None else self.labels.numpy().tobytes())
        whole.update(repr((tuple(self.images.shape), self.classes)).encode())
        return whole.hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the pixels."""
        return stacked([digest(image.data) for image in self.images.numpy()])

    def load(self, index: int) -> Tensor:
        return self.images[index]

    def name(self, index: int) -> str:
        """The source's title and the row."""
        return f"{self.title} {index}"

    def resident(self) -> Tensor:
        return self.images
