"""What a pack writes: which images go into which shard, as a function of the source and few settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from sslkit.core.source import Source
from sslkit.errors import SpecError
from sslkit.runtime import seeds

FORMAT = 1
"""Of the shards and of the file about them."""
DIGITS = 6
"""Of the number of a shard in its name."""
LOOKED_AT = 256
"""Images whose mean size tells how many make a shard of so many bytes."""
AROUND = 2560
"""Bytes of headers, label and JSON of a sample."""
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


class Shard(NamedTuple):
    """One file to write."""

    name: str
    split: str
    first: int
    """Place of its first sample in the split's order; keys of samples are places."""
    indices: Sequence[int]
    """Of its images in the source, in their order."""


class Plan(NamedTuple):
    """What tells one pack from another. Equal plans make equal files."""

    fingerprints: Mapping[str, str]
    """Of the source of each split."""
    images: Mapping[str, int]
    """Of each split."""
    shuffled: bool
    seed: int
    shard_images: int
    """Images of a shard; the last of a split has fewer."""

    def as_json(self) -> dict[str, object]:
        """For the file about the pack."""
        order = {"order": "shuffled", "seed": self.seed} if self.shuffled else {"order": "kept"}
        return {
            "format": FORMAT,
            "fingerprints": dict(self.fingerprints),
            "images": dict(self.images),
            **order,
            "shard_images": self.shard_images,
        }

    def shards(self) -> list[Shard]:
        """All of them, the training split first."""
        return [shard for split in self.images for shard in self._of(split)]

    def _of(self, split: str) -> list[Shard]:
        count, each = self.images[split], self.shard_images
        order = list(range(count))
        if self.shuffled:
            generator = seeds.generator(self.seed, "pack", split)
            order = torch.randperm(count, generator=generator).tolist()
        starts = range(0, count, each)
        return [
            Shard(f"{split}-{number:0{DIGITS}d}.tar", split, start, order[start : start + each])
            for number, start in enumerate(starts)
        ]


def bytes_of(text: str) -> int:
    """`256MB`, `1.5GiB` or a number of bytes.

    Raises:
        SpecError: it is no size, or none above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    unit = UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None or float(match[1]) * unit < 1:
        raise SpecError(f"--shard-size: expected a size such as 256MB or 1GiB, found {text!r}")
    return int(float(match[1]) * unit)


def images_for(size: int, stored: Sequence[int]) -> int:
    """Images of a shard of `size` bytes, from the sizes of some; at least one."""
    mean = sum(stored) / max(1, len(stored))
    return max(1, int(size / (mean + AROUND)))


def sample_of(source: Source) -> list[int]:
    """Places of the images that are looked at, the same each time."""
    generator = seeds.generator(0, "pack sizes")
    return sorted(torch.randperm(len(source), generator=generator)[:LOOKED_AT].tolist())
