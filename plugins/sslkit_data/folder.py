"""Image files in folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from sslkit.core.source import Source
from sslkit.errors import DataError
from sslkit_data.decode import Decoder
from sslkit_data.listing import Listing, fingerprint


@final
class FolderSource(Source):
    """Images decoded from files when they are asked for."""

    def __init__(
        self, root: Path, listing: Listing, decoder: Decoder, attributes: Mapping[str, Tensor] | None = None
    ) -> None:
        self.root = root
        self.files = listing.files
        self.labels = None if listing.labels is None else torch.tensor(listing.labels)
        self.classes = listing.classes
        self.decoder = decoder
        self.channels = decoder.channels
        self.attributes = attributes or {}
        told = [(f"{name} {codes.tolist()}", len(codes)) for name, codes in self.attributes.items()]
        self.fingerprint = fingerprint([(listing.fingerprint, decoder.channels), *told])

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def load(self, index: int) -> Tensor:
        """Image `index`, `[C, H, W]` uint8."""
        path = self.root / self.files[index]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        return self.decoder(data, str(path))

    def name(self, index: int) -> str:
        """Path below the root."""
        return self.files[index]
