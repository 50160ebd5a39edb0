"""Checksums of shards, as `shards.json` beside them has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from sslkit.plugin import DataError, JsonFile
from sslkit_shards.shard_names import is_remote, local

MANIFEST = "shards.json"
"""What `sslkit data pack` writes; others may have the same fields."""
THREADS = 8


class Entry(NamedTuple):
    """A shard in the file; further fields are not read."""

    name: str
    bytes: int
    sha256: str


_FILE = JsonFile(TypeAdapter(dict[str, object]), DataError, "pack the images again")
_ENTRIES = JsonFile(TypeAdapter(list[dict[str, object]]), DataError, "pack the images again")
_ENTRY = JsonFile(TypeAdapter(Entry), DataError, "pack the images again")


def shard_faults(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(shard, what is wrong) of local shards that are not as the file beside them says; each is read once.

    Raises:
        DataError: that file is damaged.
    """
    paths = [Path(local(name)) for name in names if not is_remote(name)]
    entries = {folder: _entries(folder / MANIFEST) for folder in dict.fromkeys(path.parent for path in paths)}
    kept = [(path, entries[path.parent].get(path.name)) for path in paths if entries[path.parent]]
    with ThreadPoolExecutor(THREADS) as pool:
        for (path, _), fault in zip(kept, pool.map(lambda pair: _fault(*pair), kept), strict=True):
            if fault:
                yield str(path), fault


def _entries(path: Path) -> dict[str, Entry]:
    """By name of the shard; empty where there is no such file."""
    if not path.is_file():
        return {}
    where = str(path)
    listed = _ENTRIES.check(_FILE.read(path).get("shards"), where)
    fields = [{name: one.get(name) for name in Entry._fields} for one in listed]
    return {entry.name: entry for entry in (_ENTRY.check(one, where) for one in fields)}


def _fault(path: Path, entry: Entry | None) -> str:
    """What is wrong with a shard; empty where nothing is."""
    if entry is None:
        return f"is not among those of {MANIFEST}"
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return f"has {size:,} bytes, and {MANIFEST} says {entry.bytes:,}"
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            for block in iter(partial(file.read, 1 << 20), b""):
                digest.update(block)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if digest.hexdigest() == entry.sha256 else f"has another SHA-256 than {MANIFEST} says"
