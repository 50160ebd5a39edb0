"""Shards by path, URL, folder, pattern and braces. Torch-free."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.plugin import DataError, reason_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ENDING = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4")
"""Have no places that one could read from without the rest."""
MOST_NAMES = 1_000_000
"""Shards that braces may stand for."""
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BRACES = re.compile(r"\{([^{}]*)\}")


def is_remote(name: str) -> bool:
    """Whether `name` is a URL; one of `file://` is a path."""
    return "://" in name and not name.startswith("file://")


def local(name: str) -> str:
    """The path that `name` is, with the home folder put in."""
    return str(Path(name.removeprefix("file://")).expanduser())


def expanded(pattern: str) -> Iterator[str]:
    """What braces stand for: `{000..123}` counts, with as many digits, and `{a,b}` lists; several multiply.

    Raises:
        DataError: a range counts down, or they stand for more than `MOST_NAMES`.
    """
    return _expanded(pattern, MOST_NAMES)


def _expanded(pattern: str, most: int) -> Iterator[str]:
    if (match := _BRACES.search(pattern)) is None:
        yield pattern
        return
    words = _words(match[1], pattern, most)
    for word in words:
        yield from _expanded(pattern[: match.start()] + word + pattern[match.end() :], most // len(words))


def _words(inside: str, pattern: str, most: int) -> Sequence[str]:
    if (ends := _RANGE.fullmatch(inside)) is None:
        return inside.split(",")
    first, last = int(ends[1]), int(ends[2])
    if last < first or last - first >= most:
        reason = "counts down" if last < first else f"stands for more than {MOST_NAMES:,} shards"
        raise DataError(f"{pattern}: {{{inside}}} {reason}; expected such as {{000000..000123}}")
    return [f"{number:0{len(ends[1])}d}" for number in range(first, last + 1)]


def shards_of(patterns: Sequence[str]) -> list[str]:
    """The shards that `patterns` name, in their order: folders and patterns sorted, braces as they count.

    Raises:
        DataError: one names nothing, or a compressed file; or a shard is named twice.
    """
    shards = [name for pattern in patterns for one in expanded(pattern) for name in _named(one)]
    twice = next((name for name, count in _counts(shards).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{twice}: is named twice, so its samples would count twice; name each shard once")
    for name in shards:
        if message := compressed_problem(name):
            raise DataError(message)
    return shards


def compressed_problem(name: str) -> str | None:
    """Why a compressed file is no shard; None where it is none."""
    if not name.lower().endswith(COMPRESSED):
        return None
    return (
        f"{name}: is compressed, so that no sample could be read without all before it; images are compressed already. "
        "Unpack it, as by `gunzip`, or write shards by `sslkit data pack`"
    )


def shards_problem(pattern: str) -> str | None:
    """What is wrong with `pattern`, as far as it can be told without asking another machine; None for nothing."""
    try:
        if not is_remote(pattern):
            shards_of([pattern])
        else:
            return next((text for name in expanded(pattern) if (text := compressed_problem(name))), None)
    except DataError as error:
        return str(error)
    return None


def shared_problem(train: Sequence[str], test: Sequence[str]) -> str | None:
    """Which local shard is both of the training and of the test split; None where none is."""
    trained = {Path(local(name)).resolve() for name in _local_shards(train)}
    for name in _local_shards(test):
        if Path(local(name)).resolve() in trained:
            return f"{name}: is a shard of the training images too, so images that were trained on would be tested"
    return None


def _local_shards(patterns: Sequence[str]) -> list[str]:
    return shards_of([pattern for pattern in patterns if not is_remote(pattern)])


def _counts(names: Sequence[str]) -> dict[str, int]:
    counts = dict[str, int]()
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _named(name: str) -> list[str]:
    """The shards of one name without braces."""
    shards = _remote(name) if is_remote(name) else _local(local(name))
    if not shards:
        looked = "" if is_remote(name) or Path(local(name)).is_absolute() else f" (looked from {Path.cwd()})"
        raise DataError(
            f"{name}: no such shard{looked}; expected a {ENDING} file, a folder of them, a pattern, or "
            "braces such as 'data/{000000..000123}.tar'"
        )
    return shards


def _local(name: str) -> list[str]:
    path = Path(name)
    if path.is_file():
        return [name]
    if path.is_dir():
        return sorted(str(shard) for shard in path.rglob(f"*{ENDING}"))
    matches = glob.glob(name, recursive=True)  # noqa: PTH207 -- Path.glob takes no absolute pattern
    return sorted(shard for shard in matches if Path(shard).is_file())


def _remote(name: str) -> list[str]:
    if not glob.has_magic(name) and name.lower().endswith((ENDING, *COMPRESSED)):
        return [name]  # that it is not there is told when it is read
    try:
        files, path = filesystem(name)
        names = files.glob(path) if glob.has_magic(path) else files.find(path)
        return sorted(files.unstrip_protocol(one) for one in names if str(one).endswith(ENDING))
    except Exception as error:  # each store raises its own
        raise DataError(f"{name}: cannot be listed: {reason_of(error)}") from None


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The store of `url`, as fsspec opens it in this process, and the path in it.

    Raises:
        DataError: no package is installed that opens such URLs.
    """
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DataError(f"{url}: cannot be opened: {error}") from None
    return files, str(path)
