"""What a shard holds: samples by key, their members by place, and the text of their labels."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.interfaces import packed
from sslkit.plugin import DataError
from sslkit_shards.tar_members import Member, ReadAt, members

Arrays = dict[str, NDArray[np.generic]]
"""Name -> array."""
KINDS = {
    "key": "u1",
    "key_length": "i4",
    "ending": "u1",
    "ending_length": "i4",
    "sample": "i4",
    "kind": "i4",
    "offset": "i8",
    "size": "i8",
    "label": "u1",
    "label_length": "i4",
    "links": "i8",
}
"""The arrays of an index, and their types: texts in two of them each; of samples (`key`, `label`), of members
(`sample`, `kind`, a place in `ending`, `offset`, `size`); and how many links there are, `[1]`."""
LONGEST_LABEL = 1000
"""Characters."""
MOST_TEXT = 1 << 24
"""Bytes of a member that a label is read from."""
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")


class LabelPlace(NamedTuple):
    """Where the label of a sample is."""

    ending: str
    """Of the member."""
    path: tuple[str, ...] = ()
    """Of a field in its JSON; empty where the text is the label."""

    @classmethod
    def of(cls, text: str) -> LabelPlace:
        """From `cls`, or `json:class.name`: member `json`, field `name` of its field `class`."""
        ending, _, path = text.partition(":")
        return cls(ending.lower().lstrip("."), tuple(path.split(".")) if path else ())


def key_and_ending(name: str) -> tuple[str, str] | None:
    """`a/b`, `left.jpg` of `a/b.left.jpg`, as WebDataset divides names; None for what is no part of a sample.

    The ending is in lower case. Hidden files have none, and what lies in a folder `__name__` is about a shard.
    """
    match = _NAME.fullmatch(name.removeprefix("./"))
    if match is None or _META.match(name):
        return None
    return match[1], match[2].lower()


def index_of(read_at: ReadAt, total: int, where: str, label: LabelPlace | None) -> Arrays:
    """The arrays of `KINDS` for one shard.

    Members of one key are one sample, wherever in the shard they stand.

    Args:
        read_at: reads the shard.
        total: its size in bytes.
        where: what it is called in errors.
        label: where labels are; they are an empty text where a sample has none.

    Raises:
        DataError: it is no tar file, is damaged, or has a sample with two members of one ending.
    """
    samples, endings, places, links = dict[str, int](), dict[str, int](), dict[tuple[int, int], Member](), 0
    labels = dict[int, str]()
    for member in members(read_at, total, where):
        parts = key_and_ending(member.name)
        if parts is None or member.is_link:
            links += member.is_link
            continue
        sample, kind = samples.setdefault(parts[0], len(samples)), endings.setdefault(parts[1], len(endings))
        if (sample, kind) in places:
            raise DataError(
                f"{where}: has two members {member.name!r}; a sample has one of each ending, so rename one"
            )
        places[sample, kind] = member
        if label and parts[1] == label.ending and member.size <= MOST_TEXT:
            labels[sample] = _label(read_at(member.offset, member.size), label)
    return _arrays(
        samples, endings, places, [labels.get(sample, "") for sample in range(len(samples))], links
    )


def _arrays(
    samples: dict[str, int],
    endings: dict[str, int],
    places: dict[tuple[int, int], Member],
    labels: list[str],
    links: int,
) -> Arrays:
    keys, names, texts = packed(samples), packed(endings), packed(labels)
    of = np.array(list(places), dtype=np.int32).reshape(-1, 2)
    return {
        "key": keys.content,
        "key_length": keys.lengths,
        "ending": names.content,
        "ending_length": names.lengths,
        "sample": of[:, 0],
        "kind": of[:, 1],
        "offset": np.array([member.offset for member in places.values()], dtype=np.int64),
        "size": np.array([member.size for member in places.values()], dtype=np.int64),
        "label": texts.content,
        "label_length": texts.lengths,
        "links": np.array([links], dtype=np.int64),
    }


def _label(content: bytes, label: LabelPlace) -> str:
    """The text of a label; empty where there is none, which is told with the sample's name later."""
    try:
        value = content.decode()
        if label.path:
            value = json.loads(value)
            for field in label.path:
                value = value[field]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""
    text = "" if value is None else str(value).strip()
    return "" if len(text) > LONGEST_LABEL or (label.path and text.startswith(("{", "["))) else text
