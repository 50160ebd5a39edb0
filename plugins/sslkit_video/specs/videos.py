"""Fields that sources of videos in files share. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from sslkit.plugin import (
    DataError,
    ListedFiles,
    ListingColumns,
    ListingFile,
    Problem,
    SplitSpec,
    listed_files,
    test_split_conflict,
)
from sslkit_video.found_videos import FolderClasses, Kind, found


class Videos(Protocol):
    """The fields that both kinds have."""

    @property
    def root(self) -> Path:
        """The training videos."""
        ...

    @property
    def test(self) -> Path | None:
        """The test videos."""
        ...

    @property
    def split(self) -> SplitSpec | None:
        """In place of them."""
        ...

    @property
    def listing(self) -> Path | None:
        """Names the videos."""
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
    def clip(self) -> int | None:
        """Frames of a sample."""
        ...

    @property
    def every(self) -> int | None:
        """Frames from one to the next."""
        ...


def video_problems(spec: Videos) -> Iterator[Problem]:
    """Files that are missing, and fields that do not fit each other."""
    for field, place in (("root", spec.root), ("test", spec.test)):
        if place and not place.expanduser().exists():
            yield Problem(field, f"{place}: no such file or folder")
    for field, file in (("listing", spec.listing), ("test_listing", spec.test_listing)):
        if file and not file.expanduser().is_file():
            yield Problem(field, f"{file}: no such file; expected a CSV file with a column 'path'")
    if message := test_split_conflict(spec.split, spec.test, spec.listing, spec.test_listing):
        yield Problem("split" if spec.split else "test", message)


def video_unused(spec: Videos) -> Iterator[Problem]:
    """Fields that have no effect."""
    if spec.clip is None:
        yield Problem("every", "has no effect with `clip: null`, as videos are whole; leave it out")
    for field in ("test_listing", "columns") if spec.listing is None else ():
        yield Problem(field, "has no effect without `listing`; give that too, or leave this out")


def videos_of(spec: Videos, kind: Kind, split: str) -> ListedFiles | None:
    """The videos of `split`; None where there is no such split.

    Raises:
        DataError: there are none, or files cannot be listed.
    """
    if message := test_split_conflict(spec.split, spec.test, spec.listing, spec.test_listing):
        raise DataError(message)
    rules = FolderClasses(spec.label_folders, kind.folders)
    root, test = spec.root.expanduser(), spec.test.expanduser() if spec.test else None
    if spec.listing is None:
        return found(root, test, kind, rules, spec.split, split)
    tests = None if spec.test_listing is None else ListingFile(spec.test_listing.expanduser(), test or root)
    return listed_files(
        ListingFile(spec.listing.expanduser(), root), tests, spec.columns, spec.split, split, rules
    )
