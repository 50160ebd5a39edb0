"""Fields that the sources of this package share. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import AfterValidator, Field, StringConstraints

from sslkit.plugin import (
    DataError,
    ListingColumns,
    ListingFile,
    Problem,
    Range,
    SplitSpec,
    listed_files,
    test_split_conflict,
)
from sslkit_science.axes import axes_problem
from sslkit_science.image_files import Kind, list_files, root_problem
from sslkit_science.libraries import missing

if TYPE_CHECKING:
    from sslkit_science.plane_source import PlaneSource, Reading
    from sslkit_science.reader import Reader

MAX_PIXELS = 89_478_485
"""Where PIL warns of an image that is small as a file and large in memory; the built-in sources have the same."""
MAX_BYTES = 1 << 32
"""4 GiB."""
SAMPLES = Path(__file__).parent.parent / "samples"
"""Small files of each format, for `sslkit plugins check`."""


def _named(axes: str) -> str:
    if problem := axes_problem(axes):
        raise ValueError(problem)
    return axes


def _distinct(bands: tuple[int | str, ...]) -> tuple[int | str, ...]:
    twice = next((band for band in bands if bands.count(band) > 1), None)
    if twice is not None:
        raise ValueError(f"names the channel {twice!r} twice")
    return bands


def _dotted(ends: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f".{end.lower().lstrip('.')}" if end else end for end in ends)


Axes = Annotated[str, AfterValidator(_named)]
Band = Annotated[int, Field(ge=0)] | Annotated[str, StringConstraints(min_length=1)]
Bands = Annotated[tuple[Band, ...], AfterValidator(_distinct)]
"""Channels by place from 0, or by the names that files give them."""
Channels = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1)]
Extensions = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_dotted)]
Percent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, lt=1)]
Tile = Annotated[int, Field(ge=8, le=1 << 16)]


class Common(Protocol):
    """The fields that every kind has."""

    @property
    def root(self) -> Path:
        """The training files."""
        ...

    @property
    def test(self) -> Path | None:
        """The test files."""
        ...

    @property
    def split(self) -> SplitSpec | None:
        """In place of them."""
        ...

    @property
    def listing(self) -> Path | None:
        """Names the files."""
        ...

    @property
    def test_listing(self) -> Path | None:
        """Names those of the test split."""
        ...

    @property
    def columns(self) -> ListingColumns:
        """Of both."""
        ...

    @property
    def label_folders(self) -> bool:
        """Whether folders are classes."""
        ...

    @property
    def range(self) -> Range:
        """Of the values."""
        ...


def problems(spec: Common, kind: Kind) -> Iterator[Problem]:
    """A library that is missing, and what is wrong with `root` and `test`."""
    if advice := missing(kind.library):
        yield Problem("kind", advice)
    for field, root in (("root", spec.root), ("test", spec.test)):
        message = root_problem(root.expanduser(), kind) if root else None
        if message:
            yield Problem(field, message)
    for field, file in (("listing", spec.listing), ("test_listing", spec.test_listing)):
        if file and not file.expanduser().is_file():
            yield Problem(field, f"{file}: no such file; expected a CSV file with a column 'path'")
    if message := _conflict(spec):
        yield Problem("split" if spec.split else "test", message)


def _conflict(spec: Common) -> str | None:
    """Why the fields that name test images do not fit each other."""
    return test_split_conflict(spec.split, spec.test, spec.listing, spec.test_listing)


def listing_unused(spec: Common) -> Iterator[Problem]:
    """Fields that have no effect with, or without, a listing."""
    for field in ("test_listing", "columns") if spec.listing is None else ():
        yield Problem(field, "has no effect without `listing`; give that too, or leave this out")
    if spec.listing is not None:
        yield Problem("extensions", "has no effect with `listing`, whose rows say it; leave one out")


def band_problems(bands: tuple[int | str, ...], kind: Kind) -> Iterator[Problem]:
    """Names of channels, for a format that has none."""
    names = [band for band in bands if band == str(band)]
    if names:
        yield Problem(
            "bands",
            f"{kind.title}s have no names of channels, so {names[0]!r} is none; count them from 0, as in bands: [0, 2]",
        )


def build(
    spec: Common, split: str, kind: Kind, reader: Callable[[], Reader], reading: Reading
) -> PlaneSource | None:
    """The source of `split`; None for a test split that is not named."""
    from sslkit_science.drawn_files import drawn_files
    from sslkit_science.plane_source import PlaneSource, tell

    if message := _conflict(spec):
        raise DataError(message)
    if spec.listing is not None:
        return _listed(spec, split, kind, reader, reading)
    if split != "train" and spec.test is None and spec.split is None:
        return None
    files = list_files(spec.root.expanduser(), kind, spec.label_folders)
    if files.left_out:
        tell(
            f"{files.root}: {files.left_out} files are no {kind.title} by their names, and are not read (`extensions`)"
        )
    if spec.split is not None:
        sides = drawn_files(files, spec.split, split, reader())
        drawn, part = sides["train"]
        train = PlaneSource(drawn, reader(), reading, part=part)
        drawn, part = sides["test"]
        return train if split == "train" else PlaneSource(drawn, reader(), reading, train, part)
    train = PlaneSource(files, reader(), reading)
    if split == "train" or spec.test is None:
        return train
    tests = list_files(spec.test.expanduser(), kind, spec.label_folders, files.classes)
    return PlaneSource(tests, reader(), reading, train)


def _listed(
    spec: Common, split: str, kind: Kind, reader: Callable[[], Reader], reading: Reading
) -> PlaneSource | None:
    """The images of the files that a listing names for `split`."""
    from sslkit_science.drawn_files import FileRules, files_of_listing
    from sslkit_science.plane_source import PlaneSource

    roots = [root.expanduser() for root in (spec.root, spec.test or spec.root)]
    train, test = (
        None if file is None else ListingFile(file.expanduser(), root)
        for file, root in zip((spec.listing, spec.test_listing), roots, strict=True)
    )
    rules = FileRules(reader(), spec.label_folders, kind.folders)
    assert train is not None, "the caller has seen to it"
    read = partial(listed_files, train, test, spec.columns, spec.split, rules=rules)
    files = read(split)
    if files is None:
        return None
    training = read("train") if split != "train" else None
    first = PlaneSource(files_of_listing(training), reader(), reading) if training else None
    return PlaneSource(files_of_listing(files), reader(), reading, first)
