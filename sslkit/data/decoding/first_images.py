"""A look at the first images of a source: their range, and what of their files is not read."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import NamedTuple, Protocol

from sslkit.core.pixel_range import resolve_range
from sslkit.data.decoding.decode import Decoder, Read
from sslkit.data.decoding.raw_image import ChannelsError, Pixels
from sslkit.errors import DataError, SslkitWarning
from sslkit.specs.pixel_range import Range

LOOKED_AT = 64
"""Images at most; enough to meet what most files are like, and few enough to cost no start."""
MOST_BYTES = 1 << 28
"""Of the pixels of all of them; past it no more are looked at."""
MOST_SIDE = 512
"""Rows and columns of an image that are kept; of larger ones every other, or fewer."""
SMALL_SHARE = 1 / 8
"""Of a type's range, below which the files may be of fewer bits than their type has."""


class Images(Protocol):
    """Sources of encoded images."""

    def __len__(self) -> int: ...

    def encoded(self, index: int) -> tuple[bytes, str]:
        """What is stored of an image, and its name. Raises DataError."""
        ...


class Seen(NamedTuple):
    """What the first images are like."""

    samples: list[Pixels]
    """Of those that are not ordinary 8-bit images, and of all where percentiles need them."""
    notes: dict[str, tuple[str, int]]
    """What is not read -> the first file, and how many there are."""
    looked_at: int
    deep: bool
    """Whether there are other types than uint8."""


def settled_decoder(decoder: Decoder, setting: Range, images: Images, train: Callable[[], Images]) -> Decoder:
    """`decoder` with the range that `setting` stands for, and warnings of what it does not read.

    Args:
        decoder: as the spec says.
        setting: the field `range`.
        images: those of the split.
        train: those of the training split, which percentiles are taken of.

    Raises:
        DataError: the range does not fit, or every image has other channels.
    """
    by_percentile = hasattr(setting, "percentile")
    seen = seen_of(decoder, train() if by_percentile else images, by_percentile)
    pixel_range = resolve_range(setting, seen.samples, "data.range")
    for text, (name, count) in seen.notes.items():
        also = f" (so do {count} of the {seen.looked_at} images that were looked at)" if count > 1 else ""
        warnings.warn(f"{name}: {text}{also}", SslkitWarning, stacklevel=2)
    if setting == "auto" and (hint := _few_bits(seen.samples)):
        warnings.warn(hint, SslkitWarning, stacklevel=2)
    return decoder._replace(pixel_range=pixel_range, deep=seen.deep)


def seen_of(decoder: Decoder, images: Images, whole: bool) -> Seen:
    """The first images; 8-bit ones are decoded only with `whole`. What cannot be read is told when it is its turn.

    Raises:
        ChannelsError: every image has other channels than the decoder's.
    """
    samples, errors, notes = list[Pixels](), list[DataError](), dict[str, tuple[str, int]]()
    deep, total, looked_at = False, 0, 0
    for index in sorted(random.Random(0).sample(range(len(images)), min(LOOKED_AT, len(images)))):  # noqa: S311
        if total > MOST_BYTES:
            break
        looked_at += 1
        try:
            data, name = images.encoded(index)
            read = _looked(decoder, data, name, whole)
        except DataError as error:
            errors.append(error)
            continue
        if read is None:
            continue
        if read.unread:
            first, count = notes.get(read.unread, (name, 0))
            notes[read.unread] = (first, count + 1)
        if read.pixels.size:
            total += read.pixels.nbytes
            if whole or read.high is None:  # otherwise the file says which part of its type is meant
                samples.append(_thinned(read))
            deep |= read.pixels.dtype.name != "uint8"
    if len(errors) == looked_at and errors and all(type(error) is ChannelsError for error in errors):
        raise errors[0]
    return Seen(samples, notes, looked_at, deep)


def _looked(decoder: Decoder, data: bytes, name: str, whole: bool) -> Read | None:
    read = decoder.look(data, name)
    if whole and (read is None or not read.pixels.size):
        return decoder.read(data, name)._replace(unread="" if read is None else read.unread)
    return read


def _thinned(read: Read) -> Pixels:
    """Few rows and columns."""
    step = max(1, -(-max(read.pixels.shape[1:]) // MOST_SIDE))
    return read.pixels[:, ::step, ::step].copy()  # the rest may be freed


def _few_bits(samples: list[Pixels]) -> str:
    """A hint where 16-bit images use a small part of their type's range."""
    highest = max((int(s.max()) for s in samples if s.dtype.name == "uint16"), default=1 << 16)
    if highest >= SMALL_SHARE * (1 << 16):
        return ""
    return (
        f"data.range: the first images have values up to {highest} of 65535, so they are dark; where they have fewer "
        f"bits than their files, write it, as in `range: [0, {(1 << highest.bit_length()) - 1}]`"
    )
