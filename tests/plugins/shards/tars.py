"""Shards for tests, written by `tarfile`, and images that tell which they are."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 8


def png(number: int, side: int = SIDE) -> bytes:
    """A gray picture whose first two pixels say `number`, over a faint pattern of it."""
    pixels = (np.random.default_rng(number).integers(0, 64, (side, side)) + number % 128).astype(np.uint8)
    pixels[0, :2] = number % 256, number // 256
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def number_in(image) -> int:
    """What `png` wrote, of one image `[C, H, W]` of bytes."""
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], style: int = tarfile.PAX_FORMAT) -> Path:
    """A tar file of `members`, whose bytes are the same each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=style) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(number: int, **others: str) -> dict[str, bytes]:
    """Members of one sample: the picture of `number`, a label of four classes, and whatever else is told."""
    return {"png": png(number), "cls": str(number % 4).encode()} | {k: v.encode() for k, v in others.items()}


def write_shards(folder: Path, counts: Sequence[int], first: int = 0, name: str = "{:06d}.tar") -> list[Path]:
    """Shards of so many samples each, which count on from `first`."""
    shards, number = list[Path](), first
    for place, count in enumerate(counts):
        samples = [(f"{i:05d}", sample(i)) for i in range(number, number + count)]
        shards.append(write_tar(folder / name.format(place), members_of(samples)))
        number += count
    return shards


def members_of(samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> Iterable[tuple[str, bytes]]:
    """(name, content) of each member."""
    return [(f"{key}.{ending}", content) for key, members in samples for ending, content in members.items()]
