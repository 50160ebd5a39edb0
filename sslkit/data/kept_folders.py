"""Names in folders, kept on disk by times and inode, so that a folder that did not change is not listed again.

What is kept may be deleted at any time. A folder's time changes with the names in it, but not with what its files hold:
that is for `content_hash` to see.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sslkit.data.content_hash import UNSETTLED, cache_folder, prune
from sslkit.data.texts import Packed, Texts, packed
from sslkit.errors import SslkitError
from sslkit.runtime.array_file import read_arrays
from sslkit.runtime.atomic_files import write_whole

WORTH = 20_000
"""Names from which on it is quicker to read what was kept."""
_ARRAYS = {"prefix": "u1", "prefix_length": "i1", "state": "i2", "folders": "i1", "names": "u1", "size": "i1"}

State = tuple[int, int, int, int]
"""Times of change of the content and of the inode in ns, inode, device."""


class FolderNames(NamedTuple):
    """The names in one folder."""

    folders: list[str]
    files: list[str]


class _Entry(NamedTuple):
    state: State
    begin: int
    end: int
    folders: int


@final
class KeptFolders:
    """The folders below one root, as they were and as they are."""

    def __init__(self, root: Path) -> None:
        """Read what was kept, if anything was."""
        name = hashlib.sha256(str(root.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
        self._place = cache_folder() / "folders" / f"{name}.npz"
        self._began = time.time_ns()
        self._content = b""
        self._before = self._read()
        self._now: dict[str, tuple[State, FolderNames]] = {}
        self._changed = False

    def names(
        self, prefix: str, stat: os.stat_result, listed: Callable[[], FolderNames | None]
    ) -> FolderNames | None:
        """The names in a folder, kept or from `listed`; what that cannot tell for later, as links, is None.

        Args:
            prefix: of the folder, below the root.
            stat: of the folder, before it is listed.
            listed: lists it.
        """
        inode = stat.st_ino & (2**63 - 1)  # some systems have unsigned ones
        state = (stat.st_mtime_ns, stat.st_ctime_ns, inode, stat.st_dev & (2**63 - 1))
        before = self._before.get(prefix)
        if before is not None and before.state == state:
            names: FolderNames | None = self._kept(before)
        else:
            names = listed()
            self._changed |= names is not None
        if names is not None and max(state[:2]) < self._began - UNSETTLED:
            self._now[prefix] = state, names
        return names

    def write(self) -> None:
        """Keep what was seen, where it is others and many, and where that is possible."""
        unchanged = not self._changed and len(self._now) == len(self._before)
        if unchanged or sum(len(names.files) for _, names in self._now.values()) < WORTH:
            return
        prefixes = packed(self._now)
        entries = list(self._now.values())
        texts = ["\0".join([*n.folders, *n.files]).encode(errors="surrogateescape") for _, n in entries]
        arrays: dict[str, NDArray[Any]] = {
            "prefix": prefixes.content,
            "prefix_length": prefixes.lengths,
            "state": np.array([state for state, _ in entries], dtype=np.int64).reshape(-1, 4),
            "folders": np.array([len(names.folders) for _, names in entries], dtype=np.int64),
            "names": np.frombuffer(b"".join(texts), dtype=np.uint8),
            "size": np.array([len(text) for text in texts], dtype=np.int64),
        }
        with contextlib.suppress(OSError, SslkitError):
            write_whole(self._place, lambda file: np.savez(file, allow_pickle=False, **arrays))
            prune(self._place.parent)

    def _read(self) -> dict[str, _Entry]:
        """Empty where there is nothing, or nothing that can be read."""
        try:
            prefix, lengths, states, folders, names, sizes = read_arrays(self._place, _ARRAYS, "")
            os.utime(self._place)
        except (OSError, SslkitError):
            return {}
        whole = states.shape == (len(lengths), 4) and len(folders) == len(sizes) == len(lengths)
        if not whole or lengths.sum() != len(prefix) or sizes.sum() != len(names):
            return {}
        self._content = names.tobytes()
        ends = np.cumsum(sizes)
        columns = zip(states.tolist(), (ends - sizes).tolist(), ends.tolist(), folders.tolist(), strict=True)
        return {
            text: _Entry((state[0], state[1], state[2], state[3]), begin, end, count)
            for text, (state, begin, end, count) in zip(Texts(Packed(prefix, lengths)), columns, strict=True)
        }

    def _kept(self, entry: _Entry) -> FolderNames:
        text = self._content[entry.begin : entry.end].decode(errors="surrogateescape")
        names = text.split("\0") if text else []
        return FolderNames(names[: entry.folders], names[entry.folders :])
