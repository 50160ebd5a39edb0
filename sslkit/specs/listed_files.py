"""The images of a split by a listing: labels, split, group and attributes from its columns. Torch-free."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from sslkit.errors import DataError, SslkitWarning
from sslkit.specs.attribute_values import Values, names_of, value_numbers
from sslkit.specs.error_text import suggest
from sslkit.specs.listing_columns import ListingColumns
from sslkit.specs.listing_table import Table, files_of, read_table
from sslkit.specs.split import SplitSpec
from sslkit.specs.split_names import split_of

T = TypeVar("T")


class ListingFile(NamedTuple):
    """One listing."""

    file: Path
    root: Path
    """What its paths are below."""


class ListedFiles(NamedTuple):
    """The files of a split, sorted folder by folder."""

    root: Path
    files: list[str]
    """Paths below `root`."""
    labels: list[int] | None
    """Class of each file; None where they have none."""
    classes: tuple[str, ...]
    """Of the training files."""
    attributes: Mapping[str, Sequence[int]] = {}
    """Further labels by name, a number for each file; -1 where it is unknown."""
    attribute_values: Mapping[str, tuple[str, ...]] = {}
    """What the numbers of each stand for."""


class FolderRules(Protocol):
    """What the folders that files lie in say of them, where a listing does not."""

    @property
    def folders(self) -> bool:
        """Whether a file may be a folder, as a Zarr store is."""
        ...

    def labels(
        self, root: Path, files: Sequence[str], classes: tuple[str, ...]
    ) -> tuple[list[int] | None, tuple[str, ...]]:
        """Class of each of `files` below `root`, and the classes: `classes`, where there are some.

        Raises:
            DataError: a file has no class, or one that is not among `classes`.
        """
        ...

    def together(
        self, root: Path, files: Sequence[str], labels: Sequence[int] | None, by: str
    ) -> Sequence[str] | None:
        """What each of `files` stays together with where `by` is "folder", or "group" and no column has groups.

        None where files tell of no groups.

        Raises:
            DataError: some lie in no folder, or tell of no group.
        """
        ...


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


def test_split_conflict(
    draw: SplitSpec | None, test: object, listing: Path | None, test_listing: Path | None
) -> str | None:
    """Why fields `split`, `test`, `listing` and `test_listing` do not fit each other; None where they do.

    Args:
        draw: the field `split`.
        test: the field `test`, of any type.
        listing: names the images.
        test_listing: names those of the test split.
    """
    for field, value in (("test", test), ("test_listing", test_listing)):
        if draw is not None and value is not None:
            return f"`split` draws the test split from `root`, and `{field}` names one; leave one out"
    if listing is not None and test is not None and test_listing is None:
        return "`listing` names the training images, so `test` needs a `test_listing`"
    return None


def listed_files(
    train: ListingFile,
    test: ListingFile | None,
    columns: ListingColumns,
    draw: SplitSpec | None,
    split: str,
    rules: FolderRules,
) -> ListedFiles | None:
    """The files of `split`; None where there is no such split.

    Args:
        train: the listing of the training images, or of all.
        test: that of the test images. Default: a column, or `draw`, says which they are, or there are none.
        columns: how columns are called.
        draw: draws the test split from the images of `train`.
        split: "train" or "test".
        rules: what folders say where the listing is a text file, or has no column for it.

    Raises:
        DataError: a listing cannot be read, or does not say what it has to.
    """
    rows = _rows(train, columns, rules)
    splits = rows.column(columns.split)
    if splits is not None and (draw or test):
        raise DataError(
            f"{train.file}: its column {columns.split!r} says which images are tests, and the field "
            f"`{'split' if draw else 'test_listing'}` does, too; leave one out, as by `columns: {{split: null}}`"
        )
    classes = _classes(rows, train.root, columns, rules)
    attributes = _attributes(rows, columns)
    names = {name: names_of(values) for name, values in attributes.items()}
    if test is not None and split != "train":
        rows = _rows(test, columns, rules)
        present = tuple(name for name in names if name in rows.table.header)
        values = _attributes(rows, columns.model_copy(update={"attributes": present}))
        labeled = _labeled(rows, test.root, columns, classes, rules)
        return _coded(labeled, values, names, test.file)
    drawn = _drawn(rows, train.root, columns, classes, draw, split, rules) if draw else None
    places = drawn or _stated(rows, splits, columns, split)
    if not places:
        return None
    labeled = _labeled(rows.part(places), train.root, columns, classes, rules)
    return _coded(
        labeled, {name: _at(cells, places) for name, cells in attributes.items()}, names, train.file
    )


def _coded(
    labeled: ListedFiles, columns: Mapping[str, Values], names: Mapping[str, tuple[str, ...]], file: Path
) -> ListedFiles:
    """With attributes, which count through `names`."""
    values = {column: names.get(column, ()) for column in columns}
    return labeled._replace(attributes=value_numbers(columns, names, str(file)), attribute_values=values)


def _rows(listing: ListingFile, columns: ListingColumns, rules: FolderRules) -> _Rows:
    table = read_table(listing.file, columns.path)
    if table.header and (missing := columns.missing(table.header)):
        raise DataError(
            f"{table.file}: line 1: has no column {missing!r}, which `columns` names. {suggest(missing, table.header)}"
        )
    files = files_of(table, listing.root, folders=rules.folders)
    keys = [path.replace(os.sep, "\0") for path in files]  # folder by folder
    order = sorted(range(len(files)), key=keys.__getitem__)
    return _Rows(table, _at(files, order), order)


def _classes(rows: _Rows, root: Path, columns: ListingColumns, rules: FolderRules) -> tuple[str, ...]:
    """Of all images of a listing, whatever their split; numbers are in numerical order."""
    if not rows.table.header:
        return rules.labels(root, rows.files, ())[1]
    labels = rows.column(columns.label)
    return () if labels is None else names_of(label or None for label in labels)


def _labeled(
    rows: _Rows, root: Path, columns: ListingColumns, classes: tuple[str, ...], rules: FolderRules
) -> ListedFiles:
    """The files of one split with their labels; without labels, they have none.

    Raises:
        DataError: some have none, or one that is no class.
    """
    if not rows.table.header:
        return ListedFiles(root, rows.files, *rules.labels(root, rows.files, classes))
    labels = rows.column(columns.label)
    if labels is None or not any(labels):
        return ListedFiles(root, rows.files, None, ())
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
    return ListedFiles(root, rows.files, numbers, classes)


def _attributes(rows: _Rows, columns: ListingColumns) -> dict[str, Values]:
    """Column -> the value of each image, None where its cell is empty."""
    values = {name: rows.column(name) or [] for name in columns.others(rows.table.header)}
    if columns.attributes is None:
        values = {name: cells for name, cells in values.items() if len(set(cells)) < len(cells)}
    return {name: [cell or None for cell in cells] for name, cells in values.items()}


def _drawn(
    rows: _Rows,
    root: Path,
    columns: ListingColumns,
    classes: tuple[str, ...],
    draw: SplitSpec,
    split: str,
    rules: FolderRules,
) -> list[int]:
    """Which images `draw` puts into `split`."""
    labeled = _labeled(rows, root, columns, classes, rules)
    names = _together(rows, root, labeled.labels, columns, draw.by, rules)
    return draw.places(names, split, str(rows.table.file), labels=labeled.labels, classes=labeled.classes)


def _together(
    rows: _Rows, root: Path, labels: list[int] | None, columns: ListingColumns, by: str, rules: FolderRules
) -> Sequence[str]:
    """What each image stays together with: nothing, its folder, or its group."""
    paths = [path.replace(os.sep, "/") for path in rows.files]
    if by == "image":
        return paths
    if by == "folder" and rows.table.header:
        return [path.rpartition("/")[0] for path in paths]
    groups = rows.column(columns.group) if by == "group" else None
    if groups is None:
        names = rules.together(root, rows.files, labels, by)
        if names is None:
            raise _no_groups(rows, columns)
        return names
    if "" in groups:
        raise DataError(
            f"{rows.where(groups.index(''))}: has no group in the column {columns.group!r}; `split` goes by group, so "
            "each image needs one"
        )
    return groups


def _no_groups(rows: _Rows, columns: ListingColumns) -> DataError:
    asked = f"has no column {columns.group!r}. {suggest(columns.group or '', rows.table.header)}"
    return DataError(
        f"{rows.table.file}: `split` goes by group, and it {asked if rows.table.header else 'has no columns.'} "
        "Name one, as in `columns: {group: patient}`, or write `by: folder` or `by: image`"
    )


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
