"""Fields that the sources of this package share. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import AfterValidator, Field, StringConstraints

from sslkit.plugin import DataError, Problem, Range, SplitSpec
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
    if message := _split_problem(spec):
        yield Problem("split", message)


def _split_problem(spec: Common) -> str | None:
    if spec.split is not None and spec.test is not None:
        return "draws the test split from `root`, and `test` names one; leave one out"
    return None


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

    if message := _split_problem(spec):
        raise DataError(f"split: {message}")
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
