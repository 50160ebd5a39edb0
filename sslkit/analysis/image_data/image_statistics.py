"""Statistics of a run's images before it is made: what `normalize` takes, sizes, ranges, classes, duplicates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from statistics import median
from typing import NamedTuple

import torch
import yaml

from sslkit.analysis.image_data.data_fields import HasImages, splits
from sslkit.analysis.image_data.duplicate_images import Copy, Duplicates, duplicates
from sslkit.analysis.image_data.pixel_tally import ChannelSummary
from sslkit.analysis.image_data.reading_bar import ReadingBar
from sslkit.analysis.image_data.survey import survey
from sslkit.core.source import Source
from sslkit.errors import DataError

DIGITS = 4
"""Significant ones of means and deviations: 8-bit values have fewer."""
COMMON = 5
"""Sizes that are listed."""


class Side(NamedTuple):
    """Pixels of images along one side."""

    least: int
    median: float
    most: int


class ImageStatistics(NamedTuple):
    """What `sslkit data stats` knows. Pixels and sizes are those of the training images that were read."""

    images: dict[str, int]
    """Split -> all its images."""
    read: int
    """Training images that were looked at."""
    asked: int
    """Those that were to be; fewer are read where a signal came."""
    seed: int
    """Of the order in which images are read."""
    channels: list[ChannelSummary]
    """Every pixel of every whole image counts the same, as decoded: in [0, 1], before crops and `normalize`."""
    dtypes: dict[str, int]
    """Type of pixels -> training images."""
    height: Side | None
    """None where no image can be read."""
    width: Side | None
    sizes: Counter[tuple[int, int]]
    """(height, width) -> training images."""
    classes: dict[str, dict[str, int]]
    """Split -> class -> all its images; empty without labels."""
    unreadable: list[tuple[str, str]]
    """(name, reason) of training images."""
    duplicates: Duplicates | None
    """Over all images of all splits; None where a sample was read."""
    signal: str | None
    """The signal that ended it early."""
    channel_names: tuple[str, ...] = ()
    """Of `channels`, where the source knows them."""

    @property
    def constant(self) -> list[int]:
        """Channels without a deviation, counted from 0."""
        return [i for i, channel in enumerate(self.channels) if channel.std == 0]

    def normalize(self) -> dict[str, list[float]]:
        """`mean` and `std` for the field `normalize` of a view, with four significant digits."""
        return {
            name: [_rounded(getattr(channel, name)) for channel in self.channels] for name in ("mean", "std")
        }

    def to_yaml(self) -> str:
        """`normalize: {mean: [...], std: [...]}`, to be pasted into a view."""
        flow = yaml.safe_dump(self.normalize(), default_flow_style=True, sort_keys=False, width=math.inf)
        return f"normalize: {flow}"

    def to_json(self) -> dict[str, object]:
        """Everything."""
        sides = {"height": self.height, "width": self.width}
        return {
            "images": self.images,
            "read": self.read,
            "asked": self.asked,
            "seed": self.seed,
            "stopped_by": self.signal,
            "pixels": "every pixel of whole images counts the same, in [0, 1], before crops and normalize",
            "normalize": self.normalize(),
            "channels": [channel._asdict() for channel in self.channels],
            "channel_names": self.channel_names,
            "dtypes": self.dtypes,
            "sizes": {
                **{name: side and side._asdict() for name, side in sides.items()},
                "distinct": len(self.sizes),
                "common": [
                    [height, width, count] for (height, width), count in self.sizes.most_common(COMMON)
                ],
            },
            "classes": self.classes,
            "unreadable": [{"image": name, "reason": reason} for name, reason in self.unreadable],
            "duplicates": self.duplicates and _as_json(self.duplicates),
        }


def image_statistics(
    spec: HasImages, images: int | None = None, bar: ReadingBar | None = None
) -> ImageStatistics:
    """Statistics of the images of `spec`, each decoded once by `spec.workers` processes.

    Sums are in float64. A first Ctrl-C or SIGTERM ends the reading; what is returned is then of the images so far,
    which are a sample, as the order is drawn from `spec.seed`.

    Args:
        spec: a `RunSpec`, or the fields of one that `load_fields` reads.
        images: a sample of so many training images. Default: all.
        bar: shows how far it is. Default: nothing is shown.

    Raises:
        DataError: there are no training images, or none that can be read.
        WorkerError: worker processes died or are stuck.
    """
    sources = splits(spec)
    train = sources["train"]
    seen = survey(train, spec.seed, spec.workers, images, bar)
    if seen.reasons and not seen.facts:
        raise DataError(
            f"none of {len(seen.reasons):,} training images can be read; the first: {seen.reasons[0][1]}"
        )
    return ImageStatistics(
        images={split: len(source) for split, source in sources.items()},
        read=seen.read,
        asked=seen.asked,
        seed=spec.seed,
        channels=seen.tally.summaries(),
        channel_names=train.channel_names,
        dtypes=dict(Counter(image.dtype for image in seen.facts)),
        height=_side([image.height for image in seen.facts]),
        width=_side([image.width for image in seen.facts]),
        sizes=seen.sizes(),
        classes=dict(class_counts(sources)),
        unreadable=[(train.name(index), reason) for index, reason in seen.reasons],
        duplicates=duplicates(sources) if images is None and seen.signal is None else None,
        signal=seen.signal,
    )


def class_counts(sources: Mapping[str, Source]) -> Iterator[tuple[str, dict[str, int]]]:
    """(split, class -> images) of each split with labels."""
    for split, source in sources.items():
        if source.labels is not None:
            labels = source.labels[source.labels >= 0].cpu()
            counts = torch.bincount(labels, minlength=len(source.classes)).tolist()
            yield split, dict(zip(source.classes, counts, strict=False))


def _side(pixels: list[int]) -> Side | None:
    return Side(min(pixels), float(median(pixels)), max(pixels)) if pixels else None


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _as_json(copies: Duplicates) -> dict[str, object]:
    def names(groups: list[list[Copy]]) -> list[list[str]]:
        return [[f"{copy.split}: {copy.name}" for copy in group] for group in groups]

    return {
        "within": {split: names(groups) for split, groups in copies.within.items()},
        "between": names(copies.between),
        "not_compared": copies.unknown,
    }
