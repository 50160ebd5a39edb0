"""Writes one shard: a tar file whose bytes depend on nothing but its samples."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, final

from sslkit.analysis.packing.pack_plan import Shard
from sslkit.analysis.packing.stored_image import StoredImage, stored_image
from sslkit.core.source import Source
from sslkit.errors import DataError
from sslkit.runtime.atomic_files import write_whole

BLOCK = 512
KEY = 9
"""Digits of a key."""


class LeftOut(NamedTuple):
    """An image that could not be read."""

    name: str
    reason: str


class Written(NamedTuple):
    """A shard on the disk."""

    name: str
    split: str
    images: int
    bytes: int
    sha256: str
    left_out: tuple[LeftOut, ...] = ()


class AbandonedError(Exception):
    """A signal came; what was begun of the shard is removed."""


def write_shard(folder: Path, shard: Shard, source: Source, tick: Callable[[], None]) -> Written:
    """Write `shard` whole, or not at all.

    Args:
        folder: of the pack.
        shard: which images.
        source: the images of its split.
        tick: is called after each; may raise `AbandonedError`.

    Raises:
        StorageError: it could not be written.
    """
    left_out, hashed = list[LeftOut](), _Hashed()

    def write(file: BinaryIO) -> None:
        for place, index in enumerate(shard.indices, start=shard.first):
            try:
                image = stored_image(source, index)
            except DataError as error:
                left_out.append(LeftOut(source.name(index), str(error)))
            else:
                for name, content in _members(f"{place:0{KEY}d}", image, source, index):
                    for part in _member(name, content):
                        file.write(hashed.add(part))
            tick()
        file.write(hashed.add(bytes(2 * BLOCK)))

    write_whole(folder / shard.name, write)
    images = len(shard.indices) - len(left_out)
    return Written(shard.name, shard.split, images, hashed.size, hashed.digest.hexdigest(), tuple(left_out))


@final
class _Hashed:
    """What is written, counted and hashed."""

    def __init__(self) -> None:
        self.digest, self.size = hashlib.sha256(), 0

    def add(self, content: bytes) -> bytes:
        self.digest.update(content)
        self.size += len(content)
        return content


def _members(key: str, image: StoredImage, source: Source, index: int) -> Iterator[tuple[str, bytes]]:
    """Image, label and what else is known of it."""
    yield f"{key}.{image.ending}", image.content
    about: dict[str, object] = {"name": source.name(index)}
    if source.labels is not None:
        label = int(source.labels[index])
        about["class"] = source.classes[label]
        yield f"{key}.cls", str(label).encode()
    if source.attributes:
        about["attributes"] = _attributes(source, index)
    yield f"{key}.json", json.dumps(about, sort_keys=True, separators=(",", ":")).encode()


def _attributes(source: Source, index: int) -> Mapping[str, object]:
    """Names of values where there are any, else numbers; None where unknown."""
    values = dict[str, object]()
    for name, numbers in source.attributes.items():
        number = int(numbers[index])
        names = source.attribute_values.get(name, ())
        values[name] = None if number < 0 else names[number] if names else number
    return values


def _member(name: str, content: bytes) -> Iterator[bytes]:
    """Header and content, filled up; of nobody, at no time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    yield info.tobuf(tarfile.USTAR_FORMAT)
    yield content
    yield bytes(-len(content) % BLOCK)
