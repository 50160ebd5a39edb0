"""Image folder source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Source, digests_of_files, fingerprint_of
from sslkit.plugin import read_bytes
from sslkit_sources.decode import Decoder
from sslkit_sources.listing import Listing


@final
class FolderSource(Source):
    """Images decoded from files on access."""

    def __init__(
        self, root: Path, listing: Listing, decoder: Decoder, attributes: Mapping[str, Tensor] | None = None
    ) -> None:
        """`root` is what the files of `listing` are relative to."""
        self.root = root
        self.files = listing.files
        self._keys = listing.keys or listing.files
        self.labels = None if listing.labels is None else torch.tensor(listing.labels)
        self.classes = listing.classes
        self.decoder = decoder
        self.channels = decoder.channels
        self.attributes = attributes or {}

    @cached_property
    def fingerprint(self) -> str:
        """Over paths below the root, what the files hold, labels and attributes."""
        return fingerprint_of(self, names=[name.replace(os.sep, "/") for name in self._keys])

    def __len__(self) -> int:
        return len(self.files)

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the files."""
        return digests_of_files(self.root, self.files)

    def load(self, index: int) -> Tensor:
        path = self.root / self.files[index]
        return self.decoder(read_bytes(path), str(path))

    def name(self, index: int) -> str:
        """Path below the root."""
        return self.files[index]
