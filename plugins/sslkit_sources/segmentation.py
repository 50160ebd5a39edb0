"""Segmentation source: a folder of images and a folder of masks."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Decoder, Source, digest, digests_of_files, fingerprint_of, open_image, stacked
from sslkit.plugin import DataError, require_regular
from sslkit_sources.folder import FolderSource, Images
from sslkit_sources.listing import folder_problem
from sslkit_sources.mask_folders import MASK_EXTENSIONS, MASKS
from sslkit_sources.mask_regions import Regions
from sslkit_sources.walk import images_below

INDEXED = frozenset({"P", "L", "1"})
"""Modes whose values are numbers of regions."""


@final
class SegmentationSource(Source):
    """Images and masks decoded from files on access."""

    def __init__(self, images: Images, regions: Regions, decoder: Decoder) -> None:
        """Pair images and masks.

        Args:
            images: in the folder `images`, beside which lies the folder `masks`.
            regions: what values of masks mean.
            decoder: of the images.

        Raises:
            DataError: there are no masks, or an image has none.
        """
        folder, files = images.root, images.listed.files
        self.root, self._meaning = folder.parent, regions
        every = list_images(self.root / MASKS, MASK_EXTENSIONS)
        masks = {Path(name).with_suffix("").as_posix(): name for name in every}
        stems = [Path(name).with_suffix("").as_posix() for name in files]
        lacking = [name for name, stem in zip(files, stems, strict=True) if stem not in masks]
        if lacking:
            raise DataError(
                f"{folder / lacking[0]}: has no mask ({len(lacking)} of {len(files)} images have none); "
                f"expected {self.root / MASKS / Path(lacking[0]).with_suffix('.png')}"
            )
        _require_single(folder, files, stems)
        self.masks = [masks[stem] for stem in stems]
        self.images = FolderSource(folder, images.listed, decoder, images.attributes)
        self.labels, self.classes = self.images.labels, self.images.classes
        self.attributes, self.attribute_values = self.images.attributes, self.images.attribute_values
        self.channels, self.regions = decoder.channels, regions.names
        self.channel_names = decoder.names

    @cached_property
    def fingerprint(self) -> str:
        """Over images, masks and what their values mean."""
        names = [name.replace(os.sep, "/") for name in (*self.images.files, *self.masks)]
        values = (self._meaning.values,) if self._meaning.values else ()
        return fingerprint_of(
            self, self._meaning.ignored, *values, *self.images.decoder.settings(), names=names
        )

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the files of each image and its mask."""
        pairs = np.hstack([self.images.digests(), digests_of_files(self.root / MASKS, self.masks)])
        return stacked([digest(pair.data) for pair in pairs])

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Tensor:
        return self.images.load(index)

    def name(self, index: int) -> str:
        """Path below `images`."""
        return self.images.name(index)

    def mask(self, index: int) -> Tensor:
        path = self.root / MASKS / self.masks[index]
        decoder = self.images.decoder
        values = _values(path, decoder)
        expected = decoder.size(*self.images.encoded(index))
        if values.shape != expected:
            raise DataError(
                f"{path}: is {values.shape[0]} x {values.shape[1]} pixels, but its image, upright, "
                f"{expected[0]} x {expected[1]}; a mask has the size of its image"
            )
        return torch.from_numpy(self._meaning.numbered(values, str(path)))


def list_images(folder: Path, extensions: tuple[str, ...]) -> list[str]:
    """Path below `folder` of every image, sorted.

    Raises:
        DataError: the folder is missing, or holds none.
    """
    problem = folder_problem(folder, extensions)
    if problem:
        raise DataError(problem)
    return sorted(images_below(folder, extensions))


def _require_single(folder: Path, files: list[str], stems: list[str]) -> None:
    owner: dict[str, str] = {}
    for name, stem in zip(files, stems, strict=True):
        if stem in owner:
            raise DataError(f"{folder}: {owner[stem]} and {name} would share a mask; rename one")
        owner[stem] = name


def _values(path: Path, decoder: Decoder) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """`[H, W]` numbers as the file has them."""
    require_regular(path)
    try:
        with open_image(path, str(path), decoder.max_pixels, decoder.max_metadata) as image:
            image.load()
            mode, values = image.mode, np.array(image)
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever their format's parser meets
        raise DataError(f"{path}: cannot be decoded: {error}") from None
    if mode not in INDEXED:
        raise DataError(
            f"{path}: is a {mode} image; expected a palette or 8-bit gray PNG of numbers of regions"
        )
    return values.astype(np.uint8)
