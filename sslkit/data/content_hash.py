"""Content hashes of files, cached on disk by path, size, times and inode.

The folder may be deleted at any time. Files in it are whole or absent, damaged ones are made again, and the newest of
several processes that write one stays: all of them are right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.core.fingerprint import SIZE, digest, stacked
from sslkit.errors import SslkitError
from sslkit.runtime.array_file import read_arrays
from sslkit.runtime.atomic_files import write_whole

Digests = NDArray[np.uint8]
"""`[N, SIZE]`; zeros for what cannot be read."""
States = NDArray[np.int64]
"""`[N, 4]`: size, time of change of the content and of the inode in ns, inode; -1 for what cannot be looked at."""

VARIABLE = "SSLKIT_CACHE"
"""Environment variable that names another folder."""
MOST_FILES, MOST_BYTES = 256, 1 << 30
"""What the folder holds at most; the files that were not used for the longest go first."""
UNSETTLED = 2_000_000_000
"""Nanoseconds: what changed so shortly before it was read may change again within one tick of the clock."""
AT_ONCE = 64
"""Files that a thread hashes at a time."""
STATES_AT_ONCE, STATE_THREADS = 4096, 16
"""Files that a thread looks at without reading them, and threads."""
_UNSEEN = (-1, -1, -1, -1)
LARGE = 1 << 24
"""Bytes from which on a file is read piece by piece."""
WORTH_TELLING = 4 << 30
"""Bytes that take long enough to hash to say so."""


class _Kept(NamedTuple):
    """What one file of the folder holds."""

    names: tuple[str, ...]
    states: States
    digests: Digests


def cache_folder() -> Path:
    """`$SSLKIT_CACHE`, or else `sslkit` in the user's folder for caches."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "sslkit"


def digests_of_files(root: Path, names: Sequence[str]) -> Digests:
    """Of each file, given relative to `root`; only files that changed are read."""
    place = _place(f"files of {root.resolve()}")
    paths = [f"{root}{os.sep}{name}" for name in names]
    states = _states(paths)
    digests, current = _still_right(place, names, states)
    stale = np.flatnonzero(~current & (states[:, 0] >= 0))
    if len(stale):
        began = time.time_ns()
        _tell(states[stale, 0], root)
        digests[stale] = _hashed([paths[i] for i in stale])
        _keep(place, _Kept(tuple(names), _settled(states, digests, began), digests))
    return digests


def state_of(path: Path) -> States:
    """`[1, 4]`, to be asked for before the file is read."""
    return _states([str(path)])


def digests_within(path: Path, part: str, state: States, make: Callable[[], Digests]) -> Digests:
    """Those of the images inside a file that `make` finds in what was read of it.

    Args:
        path: the file.
        part: which images of it, such as those of a column.
        state: of the file before it was read.
        make: hashes them.
    """
    place, began = _place(f"{part} of {path.resolve()}"), time.time_ns()
    kept = _read(place)
    if kept is not None and state[0, 0] >= 0 and np.array_equal(kept.states, state):
        return kept.digests
    digests = make()
    if state[0, 2] < began - UNSETTLED:
        _keep(place, _Kept((), state, digests))
    return digests


def _place(key: str) -> Path:
    name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]
    return cache_folder() / "content" / f"{name}.npz"


def _states(paths: Sequence[str]) -> States:
    """Many at a time: a network's file system answers each after a while."""
    parts = [paths[start : start + STATES_AT_ONCE] for start in range(0, len(paths), STATES_AT_ONCE)]
    if len(parts) < 2:
        return _some_states(paths)
    with ThreadPoolExecutor(STATE_THREADS) as pool:
        return np.concatenate(list(pool.map(_some_states, parts)))


def _some_states(paths: Sequence[str]) -> States:
    values = array("q")  # a row of an array for each would take as long as the system does
    for path in paths:
        try:
            stat = os.stat(path)  # noqa: PTH116 -- a Path for each of a million files takes seconds
        except OSError:  # a dangling link: reading it tells
            values.extend(_UNSEEN)
            continue
        inode = stat.st_ino & (2**63 - 1)  # some systems have unsigned ones
        state = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, inode
        values.extend(
            state if S_ISREG(stat.st_mode) else _UNSEEN
        )  # opening a pipe would wait; reading tells too
    return np.frombuffer(values, dtype=np.int64).reshape(-1, 4).copy()


def _still_right(place: Path, names: Sequence[str], states: States) -> tuple[Digests, NDArray[np.bool_]]:
    """What is kept of each file, and `[N]` whether the file is still as it was then."""
    digests = np.zeros((len(names), SIZE), dtype=np.uint8)
    kept = _read(place)
    if kept is None:
        return digests, np.zeros(len(names), dtype=bool)
    if kept.names == tuple(names):
        rows = np.arange(len(names))
    else:
        index = {name: row for row, name in enumerate(kept.names)}
        rows = np.array([index.get(name, -1) for name in names], dtype=np.int64)
    current = (rows >= 0) & (states[:, 0] >= 0) & (kept.states[rows] == states).all(1)
    digests[current] = kept.digests[rows[current]]
    return digests, current


def _settled(states: States, digests: Digests, began: int) -> States:
    """`states` without those of files that could not be read, or that changed just before."""
    loose = ~digests.any(1) | (states[:, 2] >= began - UNSETTLED)
    return np.where(loose[:, None], -1, states)


def _hashed(paths: Sequence[str]) -> Digests:
    parts = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
    with ThreadPoolExecutor(
        min(32, max(8, os.cpu_count() or 1))
    ) as pool:  # hashing and reading free the interpreter
        return stacked([one for some in pool.map(_hash_some, parts) for one in some])


def _hash_some(paths: Sequence[str]) -> list[bytes]:
    return [_hash_file(path) for path in paths]


def _hash_file(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 -- as above
            if os.fstat(file.fileno()).st_size > LARGE:
                return hashlib.file_digest(file, "sha256").digest()[:SIZE]
            return digest(file.read())
    except OSError:
        return bytes(SIZE)


def _tell(sizes: NDArray[np.int64], root: Path) -> None:
    total = int(sizes.clip(0).sum())
    if total > WORTH_TELLING:
        text = f"reading {len(sizes):,} files of {root} once to know their content ({total / 2**30:.0f} GiB)"
        print(text, file=sys.stderr, flush=True)


def _read(place: Path) -> _Kept | None:
    """None where there is nothing, or nothing that can be read."""
    try:
        names, states, digests = read_arrays(place, {"names": "u1", "states": "i2", "digests": "u2"}, "")
        os.utime(place)
    except (OSError, SslkitError):
        return None
    text = names.tobytes().decode(errors="surrogateescape")
    kept = _Kept(tuple(text.split("\0")) if text else (), states, digests)
    whole = digests.shape[1:] == (SIZE,) and states.shape[1:] == (4,) and len(states) in (1, len(digests))
    return kept if whole and len(kept.names) in (0, len(kept.digests)) else None


def _keep(place: Path, kept: _Kept) -> None:
    """Write it where that is possible; without it the next run hashes again."""
    text = np.frombuffer("\0".join(kept.names).encode(errors="surrogateescape"), dtype=np.uint8)
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, lambda file: np.savez(file, names=text, states=kept.states, digests=kept.digests))
        prune(place.parent)


def prune(folder: Path) -> None:
    """Keep a folder of such files within its bounds."""
    files = [(entry.stat().st_mtime_ns, entry.stat().st_size, entry) for entry in folder.glob("*.npz")]
    total = 0
    for count, (_, size, path) in enumerate(sorted(files, reverse=True), start=1):
        total += size
        if count > MOST_FILES or (total > MOST_BYTES and count > 1):
            path.unlink(missing_ok=True)
