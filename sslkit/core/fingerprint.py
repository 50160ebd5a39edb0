"""Content fingerprints of data sources: one digest over images, labels, classes, attributes and regions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor

SIZE = 16
"""Bytes of the digest of an image."""
PREFIX = "content:"
"""What fingerprints over contents begin with; those of earlier versions looked at names and sizes."""


class Content(Protocol):
    """What a fingerprint is made of: a `Source`, as far as it counts."""

    @property
    def channels(self) -> int:
        """Of every image."""
        ...

    @property
    def labels(self) -> Tensor | None:
        """Classes, `[N]`."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        """By name, `[N]` each."""
        ...

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the values of masks."""
        ...

    def __len__(self) -> int: ...

    def digests(self) -> NDArray[np.uint8] | None:
        """Of the images as they are stored, `[N, SIZE]`."""
        ...


def digest(content: bytes | memoryview) -> bytes:
    """Digest of one image as it is stored, `SIZE` bytes of SHA-256, which current processors have instructions for."""
    return hashlib.sha256(content).digest()[:SIZE]


def fingerprint_of(source: Content, *settings: object, names: Sequence[str] = ()) -> str:
    """A digest over the images, labels, classes, attributes and regions of `source`.

    Args:
        source: gives `digests`.
        settings: whatever else decides what `load` and `mask` return; their `repr` counts.
        names: of the images, where they are part of the content.

    Raises:
        PluginError: the source has no digests.
    """
    digests = source.digests()
    if digests is None:
        raise PluginError(f"{type(source).__name__}: needs `digests`, or a `fingerprint` that it sets itself")
    whole = hashlib.sha256(np.ascontiguousarray(digests).data)
    for name in names:
        whole.update(name.encode(errors="surrogateescape") + b"\0")
    whole.update(_bytes_of(source.labels))
    for name, values in sorted(source.attributes.items()):
        whole.update(repr(name).encode() + _bytes_of(values))
    about = (len(source), source.channels, source.classes, source.regions, settings)
    whole.update(repr(about).encode(errors="surrogateescape"))
    return PREFIX + whole.hexdigest()[: 2 * SIZE]


def _bytes_of(values: Tensor | None) -> bytes:
    return b"none" if values is None else values.cpu().contiguous().numpy().tobytes()


def stacked(digests: Sequence[bytes]) -> NDArray[np.uint8]:
    """`[N, SIZE]` of N digests."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), SIZE)
