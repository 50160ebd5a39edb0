"""Image folder source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Decoder, Source, Texts, digests_of_files, fingerprint_of, packed
from sslkit.plugin import ListedFiles, read_bytes
from sslkit_sources.attributes import Coded
from sslkit_sources.listing import Listing


class Images(NamedTuple):
    """What a split consists of."""

    root: Path
    """What the files of `listed` are relative to."""
    listed: Listing
    attributes: Coded


def as_images(files: ListedFiles) -> Images:
    """The images that a listing names."""
    numbers = {name: torch.tensor(places) for name, places in files.attributes.items()}
    return Images(
        files.root, Listing(files.files, files.labels, files.classes), Coded(numbers, files.attribute_values)
    )


@final
class FolderSource(Source):
    """Images decoded from files on access."""

    def __init__(
        self, root: Path, listing: Listing, decoder: Decoder, attributes: Coded | None = None
    ) -> None:
        """`root` is what the files of `listing` are relative to."""
        self.root = root
        self.files: Sequence[str] = Texts(packed(listing.files))
        self._keys = Texts(packed(listing.keys)) if listing.keys else self.files
        self.labels = None if listing.labels is None else torch.tensor(listing.labels)
        self.classes = listing.classes
        self.decoder = decoder
        self.channels, self.channel_names = decoder.channels, decoder.names
        self.attributes, self.attribute_values = attributes or Coded(
            {}, {}
        )  # not a shared view: workers begun by spawn pickle it

    @cached_property
    def fingerprint(self) -> str:
        """Over paths below the root, what the files hold, labels and attributes."""
        names = list(self._keys) if os.sep == "/" else [name.replace(os.sep, "/") for name in self._keys]
        return fingerprint_of(self, *self.decoder.settings(), names=names)

    def __len__(self) -> int:
        return len(self.files)

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the files, as they were when they were first asked for."""
        return self._digests

    @cached_property
    def _digests(self) -> NDArray[np.uint8]:
        return digests_of_files(self.root, list(self.files))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """What the file of image `index` holds, and its path."""
        path = self.root / self.files[index]
        return read_bytes(path), str(path)

    def load(self, index: int) -> Tensor:
        return self.decoder(*self.encoded(index))

    def name(self, index: int) -> str:
        """Path below the root."""
        return self.files[index]
