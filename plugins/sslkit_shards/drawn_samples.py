"""Splits that are drawn from the samples of shards, by their keys, folders or groups."""

from __future__ import annotations

from sslkit.plugin import DataError, SplitSpec
from sslkit_shards.webdataset_source import WebDatasetSource


def drawn_samples(
    whole: WebDatasetSource, draw: SplitSpec, split: str, group: str | None = None
) -> WebDatasetSource:
    """The samples of `whole` that `draw` puts into `split`, whatever shards they lie in.

    Args:
        whole: the samples of both splits.
        draw: how they are divided.
        split: "train" or "test".
        group: where a sample says what it stays together with, as `LabelPlace.of` reads it.

    Raises:
        DataError: a split would be empty, or a sample has no folder or group.
    """
    names = whole.texts_at(group) if draw.by == "group" and group is not None else whole.keys()
    if draw.by == "folder":
        names = [key.rpartition("/")[0] for key in names]
    for place, name in enumerate(names):
        if not name:
            needed = {"group": f"text at `group: {group}`", "folder": "folder in its key"}.get(draw.by, "key")
            raise DataError(
                f"{whole.name(place)}: has no {needed}; `split` goes by {draw.by}, so each sample needs one"
            )
    labels = None if whole.labels is None else whole.labels.tolist()
    where = whole.files.names[0]
    return whole.part(draw.places(names, split, where, labels=labels, classes=whole.classes))
