"""Arrays about shards, kept on disk by size, times and tags, so that a shard is read once. They may be deleted."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sslkit.interfaces import Packed, Texts, cache_folder, packed, read_arrays, write_whole
from sslkit.plugin import DataError, SslkitError
from sslkit_shards.shard_files import ShardFiles, State
from sslkit_shards.shard_index import Arrays

T = TypeVar("T")
THREADS = 16
"""That read shards; most of the time they wait for a disk or a store."""
UNSETTLED = 2_000_000_000
"""Nanoseconds: what changed so shortly before it was read may change again within one tick of the clock."""
WORTH_TELLING = 64
"""Shards from which on it is said that they are read."""
MOST_NAMED = 3
"""Shards that an error names."""

Make = Callable[[int, State], Arrays]
"""(shard, state) -> its arrays. Raises DataError."""


def kept_arrays(about: str, files: ShardFiles, kinds: Mapping[str, str], make: Make) -> list[Arrays]:
    """The arrays that `make` finds of each shard; those of shards that did not change come from the disk.

    Args:
        about: what is kept, and of which shards: the same as before finds it again.
        files: the shards.
        kinds: name -> type of each array, as in `dtype`; they have one dimension.
        make: reads one shard; several threads call it.

    Raises:
        DataError: shards cannot be read; the message names the first of them, and how many there are.
    """
    place, began = _place(about), time.time_ns()
    states = _all(files.state, range(len(files.names)))
    before = _read(place, kinds)
    arrays = [before.get((name, *state[:2])) for name, state in zip(files.names, states, strict=True)]
    stale = [shard for shard, one in enumerate(arrays) if one is None]
    if len(stale) >= WORTH_TELLING:
        size = sum(states[shard].size for shard in stale)
        print(f"indexing {len(stale):,} shards ({size / 2**30:.1f} GiB), once", file=sys.stderr, flush=True)
    for shard, one in zip(stale, _all(lambda shard: make(shard, states[shard]), stale), strict=True):
        arrays[shard] = one
    whole = [one for one in arrays if one is not None]
    if stale or len(before) != len(whole):
        tokens = [(s.size, s.token) if s.changed < began - UNSETTLED else (-1, 0) for s in states]
        _write(place, files.names, tokens, whole, kinds)
    return whole


def _all(read: Callable[[int], T], shards: Iterable[int]) -> list[T]:
    """What `read` returns for each shard. Raises DataError with the first faults of all."""
    faults = list[DataError]()

    def attempt(shard: int) -> T | None:
        try:
            return read(shard)
        except DataError as error:
            faults.append(error)
            return None

    with ThreadPoolExecutor(THREADS) as pool:
        results = [one for one in pool.map(attempt, shards) if one is not None]
    if faults:
        texts = sorted(map(str, faults))[:MOST_NAMED]
        more = f"\nand {len(faults) - MOST_NAMED:,} more shards" if len(faults) > MOST_NAMED else ""
        raise DataError("\n".join(texts) + more)
    return results


def _place(about: str) -> Path:
    name = hashlib.sha256(about.encode(errors="surrogateescape")).hexdigest()[:32]
    return cache_folder() / "shards" / f"{name}.npz"


def _read(place: Path, kinds: Mapping[str, str]) -> dict[tuple[str, int, int], Arrays]:
    """(name, size, token) -> arrays; empty where there is nothing, or nothing that can be read."""
    extra = {"shard": "u1", "shard_length": "i1", "state": "i2", "count": "i2"}
    try:
        content, lengths, states, counts, *flat = read_arrays(
            place, extra | {f"of_{name}": f"{np.dtype(kind).kind}1" for name, kind in kinds.items()}, ""
        )
    except (OSError, SslkitError):
        return {}
    names = list(Texts(Packed(content, lengths)))
    right = (
        states.shape == (len(names), 2) and counts.shape == (len(names), len(kinds)) and (counts >= 0).all()
    )
    if not right or [len(one) for one in flat] != counts.sum(0).tolist():
        return {}
    ends = np.cumsum(counts, axis=0)
    columns = dict(zip(kinds, flat, strict=True))
    return {
        (name, int(states[shard, 0]), int(states[shard, 1])): {
            field: one[ends[shard, i] - counts[shard, i] : ends[shard, i]]
            for i, (field, one) in enumerate(columns.items())
        }
        for shard, name in enumerate(names)
        if states[shard, 0] >= 0
    }


def _write(
    place: Path,
    names: Sequence[str],
    states: Sequence[tuple[int, int]],
    arrays: Sequence[Arrays],
    kinds: Mapping[str, str],
) -> None:
    """Keep them where that is possible; without it the next run reads the shards again."""
    texts = packed(names)
    content: dict[str, NDArray[Any]] = {
        "shard": texts.content,
        "shard_length": texts.lengths,
        "state": np.array(states, dtype=np.int64).reshape(-1, 2),
        "count": np.array([[len(one[name]) for name in kinds] for one in arrays], dtype=np.int64),
    }
    for name, kind in kinds.items():
        content[f"of_{name}"] = np.concatenate([one[name] for one in arrays]).astype(kind)
    with contextlib.suppress(OSError):
        write_whole(place, lambda file: np.savez(file, allow_pickle=False, **content))
