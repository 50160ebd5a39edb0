"""Parquet files of a split: by file, folder or pattern. Torch-free."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from sslkit.plugin import splits_in
from sslkit_sources.listing import from_here
from sslkit_sources.split_folders import advice
from sslkit_sources.walk import walk_once


def parquet_problem(files: Path, field: str = "files") -> str | None:
    """What is wrong with `files` as the parquet files of one split; None where there is nothing.

    `field` names the training files in the advice.
    """
    paths = parquet_files(files)
    if not paths:
        return f"{files}: no such parquet file{from_here(files)}; expected a file, a folder or a pattern"
    base, places = _base(files), dict[str, dict[str, None]]()
    for path in paths if len(paths) > 1 else ():
        parts = path.relative_to(base).parts
        for split, (place, word) in splits_in(parts).items():
            shown = base.joinpath(*parts[: place + 1])
            pattern = shown if place + 1 < len(parts) else shown.with_name(f"*{word}*.parquet")
            places.setdefault(split, {})[str(pattern)] = None
    if len(places) < 2:
        return None
    fields = advice({split: list(patterns) for split, patterns in places.items()}, field)
    return f"{files}: holds files of several splits ({', '.join(sorted(places))}); {fields}"


def shared_problem(train: Sequence[Path], test: Sequence[Path]) -> str | None:
    """Which parquet file is both of the training and of the test split; None where none is."""
    trained = {path.resolve() for files in train for path in parquet_files(files)}
    for files in test:
        for path in parquet_files(files):
            if path.resolve() in trained:
                return (
                    f"{files}: names {path}, which is a file of the training images too, so images that were trained "
                    "on would be tested; name other files, or leave the test split out"
                )
    return None


def _base(files: Path) -> Path:
    """The folder that all of `files` lie in, whose own name tells of no split."""
    if files.is_dir():
        return files
    at = next((i for i, part in enumerate(files.parts) if glob.has_magic(part)), len(files.parts) - 1)
    return Path(*files.parts[:at])


def parquet_files(files: Path) -> list[Path]:
    """The parquet files that a file, a folder (at any depth) or a pattern names, sorted."""
    if files.is_file():
        return [files]
    if files.is_dir():
        return sorted(files.rglob("*.parquet"))
    if "**" in files.parts:
        return sorted(path for path in _deep_matches(files) if path.is_file())
    matches = glob.glob(str(files))  # noqa: PTH207 -- Path.glob takes no absolute pattern
    return sorted(path for path in map(Path, matches) if path.is_file())


def _deep_matches(pattern: Path) -> Iterator[Path]:
    """What a pattern with `**` names, each folder entered once; `glob` would follow links in circles."""
    at = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    base, rest = Path(*pattern.parts[:at]), pattern.parts[at:]
    if base.is_dir():
        for prefix, names in walk_once(base):
            below = Path(prefix).parts
            yield from (base / prefix / name for name in names if _fits([*below, name], rest))


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the names of a path fit those of a pattern, where `**` stands for any number of folders."""
    places = _reached({0}, pattern)
    for part in parts:
        stay = {at for at in places if at < len(pattern) and pattern[at] == "**"}
        go = {at + 1 for at in places - stay if at < len(pattern) and fnmatch.fnmatchcase(part, pattern[at])}
        places = _reached(stay | go, pattern)
    return len(pattern) in places


def _reached(places: set[int], pattern: Sequence[str]) -> set[int]:
    """`places` in a pattern and those behind a `**` there, as it may stand for no folder."""
    for at, part in enumerate(pattern):
        if part == "**" and at in places:
            places.add(at + 1)
    return places
