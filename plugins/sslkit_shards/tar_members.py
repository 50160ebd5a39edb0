"""Members of a tar file: names and places, header by header. A damaged header is an error and no end of the file.

`tarfile` takes a damaged or missing header for the end of the archive, and the samples behind it are gone unseen.
ustar, pax (POSIX.1-2001) and GNU archives are read, uncompressed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sslkit.plugin import DataError

BLOCK = 512
"""Bytes that headers and contents are filled up to."""
_REGULAR = (b"0", b"\0", b"7")
_LINKS = (b"1", b"2")
_LONG_LINK = (b"K", b"X")
"""Headers about the one that follows them, which tell nothing that is read."""
_WITH_CONTENT = (*_REGULAR, *_LONG_LINK, b"L", b"x", b"g")
_KNOWN = (*_WITH_CONTENT, *_LINKS, b"3", b"4", b"5", b"6")
MOST_NAME = 1 << 20
"""Bytes of an extended header at most."""
CUT = "it was cut off or damaged, so copy or pack it again"

ReadAt = Callable[[int, int], bytes]
"""(offset, size) -> the bytes there, fewer at the end of the file."""


class Member(NamedTuple):
    """A file in a tar file."""

    name: str
    offset: int
    """Of its content."""
    size: int
    is_link: bool = False
    """To another member; there is no content."""


class _Header(NamedTuple):
    name: str
    size: int
    kind: bytes


def members(read_at: ReadAt, total: int, where: str) -> Iterator[Member]:
    """The regular files and links in a tar file, in their order.

    Args:
        read_at: reads the file.
        total: its size in bytes.
        where: what it is called in errors.

    Raises:
        DataError: a header is damaged, a member is cut off, or the mark of the end is missing.
    """
    place, extended, for_all = 0, dict[str, str](), dict[str, str]()
    while True:
        block = read_at(place, BLOCK)
        if len(block) < BLOCK:
            raise DataError(
                f"{where}: ends at byte {place + len(block):,} without the mark of an archive's end; {CUT}"
            )
        if not block.strip(b"\0"):
            return
        header = _header(block, f"{where}: byte {place:,}")
        begin = place + BLOCK
        size = int(extended.get("size", header.size)) if header.kind in _REGULAR else header.size
        place = begin + (-(-size // BLOCK) * BLOCK if header.kind in _WITH_CONTENT else 0)
        if place > total:
            raise DataError(f"{where}: member {header.name!r} goes on to byte {place:,} of {total:,}; {CUT}")
        match header.kind:
            case b"L":
                extended["path"] = _text(_content(read_at, begin, size, where).rstrip(b"\0"))
            case b"x":
                extended |= _records(_content(read_at, begin, size, where), where)
            case b"g":
                for_all |= _records(_content(read_at, begin, size, where), where)
            case _:
                name = extended.get("path", for_all.get("path", header.name))
                if header.kind in _REGULAR and not name.endswith("/"):
                    yield Member(name, begin, size)
                elif header.kind in _LINKS:
                    yield Member(name, begin, 0, is_link=True)
                if header.kind not in _LONG_LINK:
                    extended = {}


def _header(block: bytes, where: str) -> _Header:
    kind = block[156:157]
    try:
        checksum, size = _number(block[148:156]), _number(block[124:136])
    except ValueError:
        checksum, size = -1, 0
    if checksum != sum(block[:148]) + 8 * 32 + sum(block[156:]) or size < 0:
        raise DataError(f"{where}: is no header of a tar file; {CUT}")
    if kind not in _KNOWN:
        raise DataError(
            f"{where}: has a member of the kind {kind!r}; write it by `tar --format=pax` without `--sparse`"
        )
    name, prefix = _text(block[:100].partition(b"\0")[0]), b""
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].partition(b"\0")[0]
    return _Header(f"{_text(prefix)}/{name}" if prefix else name, size, kind)


def _number(field: bytes) -> int:
    """Octal digits or, past them, a binary number with the highest bit set. Raises ValueError."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    return int(digits, 8) if digits else 0


def _content(read_at: ReadAt, offset: int, size: int, where: str) -> bytes:
    if size > MOST_NAME:
        raise DataError(f"{where}: byte {offset:,}: an extended header of {size:,} bytes; {CUT}")
    return read_at(offset, size)


def _records(content: bytes, where: str) -> dict[str, str]:
    """Of a pax header: `LENGTH KEY=VALUE` and a line break each."""
    records, place = dict[str, str](), 0
    while place < len(content) and content[place : place + 1] != b"\0":
        length, _, _ = content[place : place + 20].partition(b" ")
        if not length.isdigit() or not 4 < int(length) <= len(content) - place:
            raise DataError(f"{where}: a pax header is damaged; {CUT}")
        record = content[place + len(length) + 1 : place + int(length) - 1]
        key, _, value = record.partition(b"=")
        records[_text(key)] = _text(value)
        place += int(length)
    if records.keys() & {"GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.size"}:
        raise DataError(f"{where}: has a sparse member; write it by `tar` without `--sparse`")
    if not records.get("size", "0").isdigit():
        raise DataError(f"{where}: a pax header is damaged; {CUT}")
    return records


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
