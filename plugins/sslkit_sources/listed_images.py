"""The images of a split by a listing: labels, split, group and attributes from its columns."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from sslkit.plugin import DataError, SplitSpec, SslkitWarning, suggest
from sslkit_sources.attributes import Coded, Values, coded, names_of
from sslkit_sources.drawn_split import by_folder, places_of
from sslkit_sources.listing import Listing, list_named, sort_key
from sslkit_sources.listing_table import Table, files_of, read_table
from sslkit_sources.specs.listing_columns import ListingColumns
from sslkit_sources.split_names import split_of

T = TypeVar("T")


class Named(NamedTuple):
    """One listing."""

    file: Path
    root: Path
    """What its paths are below."""


class Images(NamedTuple):
    """Of a split."""

    root: Path
    """What the files of `listed` are relative to."""
    listed: Listing
    attributes: Coded


class _Rows(NamedTuple):
    """The rows of a listing, sorted by the paths of their images."""

    table: Table
    files: list[str]
    order: list[int]
    """Place of each image in the table."""

    def column(self, name: str | None) -> list[str] | None:
        """The cells of a column; None where there is none of the name."""
        cells = self.table.columns.get(name) if name else None
        return None if cells is None else _at(cells, self.order)

    def where(self, place: int) -> str:
        """File and line of the image at `place`."""
        return self.table.where(self.order[place])

    def part(self, places: Sequence[int]) -> _Rows:
        """Some of them."""
        return _Rows(self.table, _at(self.files, places), _at(self.order, places))


def listed_images(
    train: Named, test: Named | None, columns: ListingColumns, draw: SplitSpec | None, split: str
) -> Images | None:
    """The images of `split`; None where there is no such split.

    Args:
        train: the listing of the training images, or of all.
        test: that of the test images. Default: a column, or `draw`, says which they are, or there are none.
        columns: how columns are called.
        draw: draws the test split from the images of `train`.
        split: "train" or "test".

    Raises:
        DataError: a listing cannot be read, or does not say what it has to.
    """
    rows = _rows(train, columns)
    splits = rows.column(columns.split)
    if splits is not None and (draw or test):
        raise DataError(
            f"{train.file}: its column {columns.split!r} says which images are tests, and the field "
            f"`{'split' if draw else 'test_listing'}` does, too; leave one out, as by `columns: {{split: null}}`"
        )
    classes = _classes(rows, train.root, columns)
    attributes = _attributes(rows, columns)
    names = {name: names_of(values) for name, values in attributes.items()}
    if test is not None and split != "train":
        rows = _rows(test, columns)
        present = tuple(name for name in names if name in rows.table.header)
        values = _attributes(rows, columns.model_copy(update={"attributes": present}))
        return Images(
            test.root, _listing(rows, test.root, columns, classes), coded(values, names, str(test.file))
        )
    drawn = _drawn(rows, train.root, columns, classes, draw, split) if draw else None
    places = drawn or _stated(rows, splits, columns, split)
    if not places:
        return None
    listed = _listing(rows.part(places), train.root, columns, classes)
    if draw and draw.by == "folder" and not rows.table.header and _flat(rows):
        listed = listed._replace(labels=None, classes=())
    values = {name: _at(cells, places) for name, cells in attributes.items()}
    return Images(train.root, listed, coded(values, names, str(train.file)))


def _rows(listing: Named, columns: ListingColumns) -> _Rows:
    table = read_table(listing.file, columns.path)
    if table.header and (missing := columns.missing(table.header)):
        raise DataError(
            f"{table.file}: line 1: has no column {missing!r}, which `columns` names. {suggest(missing, table.header)}"
        )
    files = files_of(table, listing.root)
    keys = [sort_key(path) for path in files]
    order = sorted(range(len(files)), key=keys.__getitem__)
    return _Rows(table, _at(files, order), order)


def _classes(rows: _Rows, root: Path, columns: ListingColumns) -> tuple[str, ...]:
    """Of all images of a listing, whatever their split; numbers are in numerical order."""
    if not rows.table.header:
        return list_named(root, rows.files).classes
    labels = rows.column(columns.label)
    return () if labels is None else names_of(label or None for label in labels)


def _listing(rows: _Rows, root: Path, columns: ListingColumns, classes: tuple[str, ...]) -> Listing:
    """The images of one split with their labels; without labels, they have none.

    Raises:
        DataError: some have none, or one that is no class.
    """
    if not rows.table.header:
        return list_named(root, rows.files, classes)
    labels = rows.column(columns.label)
    if labels is None or not any(labels):
        return Listing(rows.files, None, ())
    index = {name: place for place, name in enumerate(classes)}
    numbers = [index.get(label, -1) for label in labels]
    if -1 in numbers:
        place = numbers.index(-1)
        if labels[place]:
            raise DataError(
                f"{rows.where(place)}: the label {labels[place]!r} is none of the {len(classes)} classes of the "
                "training images; correct it, or remove the row"
            )
        raise DataError(
            f"{rows.where(place)}: has no label ({labels.count(''):,} of {len(labels):,} images of this split have "
            "none); give each image one, or leave labels out by `columns: {label: null}`"
        )
    return Listing(rows.files, numbers, classes)


def _attributes(rows: _Rows, columns: ListingColumns) -> dict[str, Values]:
    """Column -> the value of each image, None where its cell is empty."""
    values = {name: rows.column(name) or [] for name in columns.others(rows.table.header)}
    if columns.attributes is None:
        values = {name: cells for name, cells in values.items() if len(set(cells)) < len(cells)}
    return {name: [cell or None for cell in cells] for name, cells in values.items()}


def _drawn(
    rows: _Rows, root: Path, columns: ListingColumns, classes: tuple[str, ...], draw: SplitSpec, split: str
) -> list[int]:
    """Which images `draw` puts into `split`."""
    where = str(rows.table.file)
    paths = [path.replace(os.sep, "/") for path in rows.files]
    listed = _listing(rows, root, columns, classes)
    if draw.by == "image":
        return places_of(listed, draw, split, paths, where)
    if draw.by == "group":
        return places_of(listed, draw, split, _groups(rows, columns), where)
    if rows.table.header:
        return places_of(listed, draw, split, [path.rpartition("/")[0] for path in paths], where)
    listed, names = by_folder(listed, paths, where)
    return places_of(listed, draw, split, names, where)


def _groups(rows: _Rows, columns: ListingColumns) -> list[str]:
    """The group of each image. Raises DataError where one has none."""
    groups = rows.column(columns.group)
    if groups is None:
        asked = f"has no column {columns.group!r}. {suggest(columns.group or '', rows.table.header)}"
        raise DataError(
            f"{rows.table.file}: `split` goes by group, and it {asked if rows.table.header else 'has no columns.'} "
            "Name one, as in `columns: {group: patient}`, or write `by: folder` or `by: image`"
        )
    if "" in groups:
        raise DataError(
            f"{rows.where(groups.index(''))}: has no group in the column {columns.group!r}; `split` goes by group, so "
            "each image needs one"
        )
    return groups


def _flat(rows: _Rows) -> bool:
    """Whether images lie in folders of one level, which are what stays together and no classes."""
    return all(path.count(os.sep) == 1 for path in rows.files)


def _stated(rows: _Rows, splits: Sequence[str] | None, columns: ListingColumns, split: str) -> list[int]:
    """Which images are of `split` by the cells of a column; all are for training where there is none.

    Raises:
        DataError: a cell names no split, or no image is for training.
    """
    if splits is None:
        return list(range(len(rows.files))) if split == "train" else []
    kinds = {cell: split_of(cell) for cell in dict.fromkeys(splits)}
    strange = next((cell for cell, kind in kinds.items() if kind is None), None)
    if strange is not None:
        raise DataError(
            f"{rows.where(splits.index(strange))}: has {strange!r} in the column {columns.split!r}; expected train, "
            "test, val or a word like them. Correct it, or name another column, or none, as by `columns: {split: null}`"
        )
    present = set(kinds.values())
    sides = {"train": {"train"}, "test": {"test"} if "test" in present else {"validation"}}
    if columns.label not in rows.table.header:
        sides["train"].add("unlabeled")
    if not sides["train"] & present:
        raise DataError(
            f"{rows.table.file}: its column {columns.split!r} has no image to train on, only {', '.join(kinds)}"
        )
    if split == "train":
        _tell_unread(rows.table.file, [kinds[cell] or "" for cell in splits], sides["train"] | sides["test"])
    return [place for place, cell in enumerate(splits) if kinds[cell] in sides[split]]


def _tell_unread(file: Path, kinds: Sequence[str], read: set[str]) -> None:
    """Warn of images that are of a split that is neither trained nor tested on."""
    for kind in sorted(set(kinds) - read):
        warnings.warn(
            f"{file}: {kinds.count(kind):,} of {len(kinds):,} images are of the split {kind!r}, which is not read "
            f"beside {' and '.join(sorted(set(kinds) & read))}",
            SslkitWarning,
            stacklevel=2,
        )


def _at(values: Sequence[T], places: Sequence[int]) -> list[T]:
    return list(map(values.__getitem__, places))
