"""Bytes of shards by place: local files by `pread`, others by fsspec. Safe in workers, forked or spawned."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, final

from sslkit.plugin import DataError, reason_of, require_regular
from sslkit_shards.local_copies import Kept, LocalCopies
from sslkit_shards.shard_names import filesystem, is_remote, local

T = TypeVar("T")
MOST_OPEN = 64
"""Files that a process keeps open."""
TRIES = 4
"""Of reading from a store, half a second, one and two apart: a fault of a moment must not change what is trained on."""
_VOLATILE = ("islink", "atime", "nlink", "mode", "uid", "gid", "destination")


class State(NamedTuple):
    """What tells that a shard has changed."""

    size: int
    """Bytes."""
    token: int
    """Of the times and inode of a file, or of whatever a store tells, its tags among it."""
    changed: int = 0
    """When a file changed last, in ns; a store's tags need no time."""


@final
class ShardFiles:
    """The shards of a split."""

    def __init__(self, names: Sequence[str], kept: Kept | None = None) -> None:
        """`names`: paths and URLs; `kept`: where remote shards are copied to as a whole."""
        self.names, self._kept = tuple(names), kept
        self._tokens = dict[int, int]()
        self._open = dict[int, _Descriptor]()

    def __getstate__(self) -> dict[str, object]:
        """Without open files, for workers begun by spawn."""
        return {**self.__dict__, "_open": {}}

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes of a shard.

        Raises:
            DataError: they cannot be read, or are no longer there.
        """
        name = self.names[shard]
        content = _tried(lambda: self._bytes(shard, offset, size), name, TRIES if is_remote(name) else 1)
        if len(content) < size:
            raise DataError(
                f"{name}: has {len(content):,} of {size:,} bytes at {offset:,}; it changed since it was indexed"
            )
        return content

    def state(self, shard: int) -> State:
        """Of a shard as it is now. Raises DataError where it is not there."""
        name = self.names[shard]
        if not is_remote(name):
            require_regular(local(name))
            stat = Path(local(name)).stat()
            changed = max(stat.st_mtime_ns, stat.st_ctime_ns)
            return State(stat.st_size, _token(stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino), changed)
        files, path = filesystem(name)
        info = _tried(lambda: files.info(path), name, TRIES)
        if info.get("size") is None:
            raise DataError(f"{name}: its store tells no size, so nothing can be read by place; copy it")
        told_of = sorted((key, str(value)) for key, value in info.items() if key not in _VOLATILE)
        return State(int(info["size"]), _token(*told_of))

    def scanner(self, shard: int) -> Callable[[int, int], bytes]:
        """Reads places of a shard in rising order, which a store answers in few requests."""
        name = self.names[shard]
        if not is_remote(name):
            return lambda offset, size: _tried(lambda: self._bytes(shard, offset, size), name, 1)
        files, path = filesystem(name)
        file = _tried(lambda: files.open(path, "rb"), name, TRIES)

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return bytes(file.read(size))

        return lambda offset, size: _tried(lambda: read_at(offset, size), name, TRIES)

    def _bytes(self, shard: int, offset: int, size: int) -> bytes:
        name = self.names[shard]
        if is_remote(name):
            if self._kept is not None:
                return self._copied(shard, offset, size)
            files, path = filesystem(name)  # the instance of this process: stores do not survive a fork
            return bytes(files.cat_file(path, start=offset, end=offset + size))
        return self._file(shard).read(size, offset)

    def _copied(self, shard: int, offset: int, size: int) -> bytes:
        """From the copy of a remote shard."""
        assert self._kept is not None, "copies are kept"
        name = self.names[shard]
        if shard not in self._tokens:
            self._tokens[shard] = self.state(shard).token
        files, path = filesystem(name)

        def fetch(part: Path) -> None:
            _tried(lambda: files.get_file(path, str(part)), name, TRIES)

        return LocalCopies(self._kept).read(name, self._tokens[shard], fetch, offset, size)

    def _file(self, shard: int) -> _Descriptor:
        """The open file; one that another thread still reads is closed when that is done with it."""
        file = self._open.get(shard)
        if file is None:
            if len(self._open) >= MOST_OPEN:
                self._open.clear()
            file = self._open[shard] = _Descriptor(local(self.names[shard]))
        return file


def _tried(read: Callable[[], T], name: str, tries: int) -> T:
    """What `read` returns. Raises DataError where it fails each time."""
    for attempt in range(tries):
        try:
            return read()
        except DataError:
            raise
        except Exception as error:  # each store raises its own
            if attempt == tries - 1:
                raise DataError(f"{name}: cannot be read: {reason_of(error)}") from None
            time.sleep(0.5 * 2**attempt)
    raise AssertionError("there is at least one try")


@final
class _Descriptor:
    """A file that is open as long as somebody holds this."""

    def __init__(self, path: str) -> None:
        self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int, offset: int) -> bytes:
        """Without a place in the file, which processes that were forked would share."""
        return os.pread(self._number, size, offset)

    def __del__(self) -> None:
        if hasattr(self, "_number"):
            os.close(self._number)


def _token(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big", signed=True)
