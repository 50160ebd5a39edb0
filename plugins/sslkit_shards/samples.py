"""The samples of all shards of a split, and which of their members are the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.interfaces import Packed, Texts
from sslkit.plugin import DataError, readable_endings
from sslkit_shards.shard_files import ShardFiles
from sslkit_shards.shard_index import Arrays

MOST_NAMED = 8
"""Endings that a message names."""


class Samples(NamedTuple):
    """The members of all samples, sorted by sample."""

    keys: Texts
    labels: Texts
    """As text; empty where a sample has none."""
    begin: NDArray[np.int64]
    """Of each shard's samples, and their number: `[shards + 1]`."""
    endings: tuple[str, ...]
    sample: NDArray[np.int64]
    """Of each member, `[M]`."""
    kind: NDArray[np.int32]
    """Place in `endings` of each member, `[M]`."""
    offset: NDArray[np.int64]
    size: NDArray[np.int64]

    def shard(self, sample: int) -> int:
        """That a sample is in."""
        return int(np.searchsorted(self.begin, sample, side="right")) - 1

    def member(self, sample: int, ending: str) -> int | None:
        """Of a sample; None where it has none of the ending."""
        first, last = np.searchsorted(self.sample, [sample, sample + 1])
        kinds = [self.endings[kind] for kind in self.kind[first:last]]
        return int(first) + kinds.index(ending) if ending in kinds else None


def joined(arrays: Sequence[Arrays]) -> Samples:
    """The samples of shards in their order, from the arrays of each."""
    counts = [len(one["key_length"]) for one in arrays]
    begin = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    names, kinds = dict[str, int](), list[NDArray[np.int32]]()
    for one in arrays:
        endings = Texts(Packed(one["ending"].astype(np.uint8), one["ending_length"].astype(np.int32)))
        places = np.array([names.setdefault(ending, len(names)) for ending in endings], dtype=np.int32)
        kinds.append(places[one["kind"].astype(np.int32)])
    sample = np.concatenate([one["sample"] + first for one, first in zip(arrays, begin[:-1], strict=True)])
    order = np.argsort(sample, kind="stable")
    return Samples(
        _texts(arrays, "key"),
        _texts(arrays, "label"),
        begin,
        tuple(names),
        sample[order].astype(np.int64),
        np.concatenate(kinds)[order],
        np.concatenate([one["offset"] for one in arrays])[order].astype(np.int64),
        np.concatenate([one["size"] for one in arrays])[order].astype(np.int64),
    )


def _texts(arrays: Sequence[Arrays], name: str) -> Texts:
    content = np.concatenate([one[name] for one in arrays]).astype(np.uint8)
    return Texts(Packed(content, np.concatenate([one[f"{name}_length"] for one in arrays]).astype(np.int32)))


def images_of(samples: Samples, endings: Sequence[str], files: ShardFiles) -> tuple[NDArray[np.int64], str]:
    """Which member is the image of each sample that has one, `[N]`, and what is to be said of the others.

    Args:
        samples: of all shards.
        endings: of images, the first of them that a sample has; none for whatever can be read, of which a sample then
            has one at most.
        files: the shards, for errors.

    Raises:
        DataError: no sample has an image, or one has several and `endings` does not say which.
    """
    wanted = list(endings) or [one for one in samples.endings if f".{one}".endswith(readable_endings())]
    rank = np.full(len(samples.endings) + 1, len(wanted) + 1)
    for place, one in enumerate(wanted):
        if one in samples.endings:
            rank[samples.endings.index(one)] = place
    ranks = rank[samples.kind]
    members = np.flatnonzero(ranks <= len(wanted))
    of = samples.sample[members]
    if not len(members):
        raise DataError(
            f"{files.names[0]}: holds no sample with an image ({_some(wanted) or 'of any known ending'}); its samples "
            f"have {_some(samples.endings) or 'no members'}. Name those of images with `image`"
        )
    if not endings and len(twice := np.flatnonzero(of[1:] == of[:-1])):
        _refuse_several(samples, members, int(of[twice[0]]), files)
    best = members[np.lexsort((ranks[members], of))]
    _, first = np.unique(samples.sample[best], return_index=True)
    return best[first], _left_out(samples, samples.sample[best[first]], files)


def _refuse_several(samples: Samples, members: NDArray[np.int64], sample: int, files: ShardFiles) -> None:
    names = [samples.endings[samples.kind[m]] for m in members if samples.sample[m] == sample]
    raise DataError(
        f"{files.names[samples.shard(sample)]}: sample {samples.keys[sample]!r} has several images ({_some(names)}); "
        f"name the one that is read, as in image: {names[0]}"
    )


def _left_out(samples: Samples, with_image: NDArray[np.int64], files: ShardFiles) -> str:
    """A line about samples that have no image; empty where each has one."""
    missing = np.setdiff1d(np.arange(len(samples.keys)), with_image)
    if not len(missing):
        return ""
    first = int(missing[0])
    return (
        f"{files.names[samples.shard(first)]}: sample {samples.keys[first]!r} has no image and is left out, as are "
        f"{len(missing) - 1:,} more of {len(samples.keys):,}"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(f".{name}" for name in names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
