"""Splits that are drawn from the images of one listing. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sslkit.plugin import DataError, SplitSpec
from sslkit_sources.listing import Listing


def drawn(listed: Listing, draw: SplitSpec, split: str, where: str) -> Listing:
    """The images of `listed` that `draw` puts into `split`.

    Args:
        listed: the images of both splits.
        draw: how they are divided.
        split: "train" or "test".
        where: what holds them, for messages.

    Raises:
        DataError: a split would be empty, or images have no folders or groups to stay together in.
    """
    if draw.by == "group":
        raise DataError(
            f"{where}: `split` goes by group, and the images have none; name a CSV file with a column `group` in "
            "`listing`, or write `by: folder` or `by: image`"
        )
    paths = _below_roots(listed)
    names = paths
    if draw.by == "folder":
        listed, names = by_folder(listed, paths, where)
    places = draw.places(names, split, where, labels=listed.labels, classes=listed.classes)
    return at_places(listed, places)


def at_places(listed: Listing, places: Sequence[int]) -> Listing:
    """The images at `places`."""
    files, labels, classes, keys, _ = listed
    return Listing(
        [files[place] for place in places],
        None if labels is None else [labels[place] for place in places],
        classes,
        None if keys is None else [keys[place] for place in places],
    )


def _below_roots(listed: Listing) -> list[str]:
    """Path of each image below its own root, as every system writes it; so another root moves none of this one."""
    paths = listed.files if listed.keys is None else [key.partition("/")[2] for key in listed.keys]
    return paths if os.sep == "/" else [path.replace(os.sep, "/") for path in paths]


def by_folder(listed: Listing, paths: Sequence[str], where: str) -> tuple[Listing, list[str]]:
    """The folder of each image right below its class folder, whatever the class: a patient may be in several of them.

    Where images lie in folders of one level, or have no labels, the first folders stay together, and are no classes.
    """
    parts = [path.split("/", 2) for path in paths]
    depth = 0 if listed.labels is None or all(len(names) == 2 for names in parts) else 1
    loose = [path for path, names in zip(paths, parts, strict=True) if len(names) < depth + 2]
    if loose:
        expected = "folders of them inside class folders, or folders of images and no classes"
        raise DataError(
            f"{where}: `split` goes by folder, and {len(loose):,} of {len(parts):,} images lie in none that could stay "
            f"together, such as {loose[0]!r}; expected {expected}. Write `by: image`, or move them"
        )
    if depth == 0:
        listed = Listing(listed.files, None, (), listed.keys)
    return listed, [names[depth] for names in parts]
