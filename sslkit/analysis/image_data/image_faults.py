"""Faults of a spec's images by kind, each image decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sslkit.analysis.image_data.data_fields import HasImages, splits, streams_beside
from sslkit.analysis.image_data.image_statistics import class_counts
from sslkit.analysis.image_data.reading_bar import ReadingBar
from sslkit.analysis.image_data.survey import ImageFacts, Survey, survey
from sslkit.core.source import Source

UNREADABLE = "unreadable"
NO_IMAGE = (UNREADABLE, "too large", "wrong channels or type", "outside 0 to 1")
"""Kinds of which a run gets no image, and that `max_corrupt` counts."""
CHECKSUM = "checksum"
"""A file that is not as its checksum says."""
KINDS = (*NO_IMAGE, CHECKSUM, "constant", "gray", "odd size", "empty class")
"""Every kind of fault, in the order of tables."""
_SIGNS = {
    "`max_pixels`": "too large",
    "`convert: true`": "wrong channels or type",
    "H, W], but this has values from": "outside 0 to 1",
    "H, W], but this is": "wrong channels or type",
}
"""What a reason says, or the field that it names -> its kind."""
USUAL = 0.9
"""Share of images that have one size, from which on another size is odd."""
LONGEST = 10.0
"""Ratio of the sides from which on an image is odd, whatever size the others have."""


class Fault(NamedTuple):
    """One image or class of a kind of fault."""

    name: str
    detail: str


class SplitFaults(NamedTuple):
    """The faults of one split."""

    images: int
    read: int
    """Images that were looked at."""
    faults: dict[str, list[Fault]]
    """Kind -> each; kinds without any are left out."""
    signal: str | None = None
    """The signal that ended it early."""

    @property
    def unreadable(self) -> int:
        """Images of which there is none to train on."""
        return sum(len(self.faults.get(kind, ())) for kind in NO_IMAGE)


def check_images(
    spec: HasImages, images: int | None = None, bar: ReadingBar | None = None
) -> dict[str, SplitFaults]:
    """Decode every image of every split of `spec` once, by `spec.workers` processes, and collect the faults by split.

    An image without what another view reads of it, as a caption, is unreadable.

    Without `images`, files are also held against their checksums, where a source has some.

    A first Ctrl-C or SIGTERM ends it with the faults so far.

    Args:
        spec: a `RunSpec`, or the fields of one that `load_fields` reads.
        images: a sample of so many images of each split. Default: all.
        bar: shows how far it is. Default: nothing is shown.

    Raises:
        DataError: there are no training images, or files are missing.
        WorkerError: worker processes died or are stuck.
    """
    sources, results = splits(spec), dict[str, SplitFaults]()
    counts = dict(class_counts(sources))
    beside = streams_beside(spec)
    for split, source in sources.items():
        seen = survey(source, spec.seed, spec.workers, images, bar, beside)
        every = [*_of_images(source, seen), *_of_classes(counts.get(split, {}))]
        if images is None and seen.signal is None:
            every += [(CHECKSUM, Fault(name, text)) for name, text in source.file_faults()]
        by_kind = {kind: [fault for of, fault in every if of == kind] for kind in KINDS}
        full = {kind: faults for kind, faults in by_kind.items() if faults}
        results[split] = SplitFaults(len(source), seen.read, full, seen.signal)
        if seen.signal is not None:
            break
    return results


def too_many(results: Mapping[str, SplitFaults], max_corrupt: float) -> Iterator[str]:
    """A line for each split of which more than `max_corrupt` of the images give none, or whose files changed."""
    for split, one in results.items():
        if changed := one.faults.get(CHECKSUM):
            yield (
                f"data: {len(changed):,} files of the {split} images are not as their checksums say, such as "
                f"{changed[0].name}; copy or pack them again"
            )
        if one.unreadable > max_corrupt * one.read:
            yield (
                f"data: {one.unreadable:,} of {one.read:,} {split} images cannot be read, more than "
                f"max_corrupt={max_corrupt}; repair or remove them, or raise `max_corrupt`"
            )


def as_json(results: Mapping[str, SplitFaults]) -> dict[str, object]:
    """Every fault by split and kind."""
    return {
        split: {
            "images": one.images,
            "read": one.read,
            "unreadable": one.unreadable,
            "stopped_by": one.signal,
            "faults": {kind: [fault._asdict() for fault in faults] for kind, faults in one.faults.items()},
        }
        for split, one in results.items()
    }


def _of_images(source: Source, seen: Survey) -> Iterator[tuple[str, Fault]]:
    for index, reason in seen.reasons:
        kind = next((kind for sign, kind in _SIGNS.items() if sign in reason), UNREADABLE)
        yield kind, Fault(source.name(index), reason)
    usual = _usual(seen)
    for image in seen.facts:
        name, size = source.name(image.place), f"{image.height} x {image.width}"
        if image.constant:
            yield "constant", Fault(name, size)
        elif image.gray:
            yield "gray", Fault(name, f"{source.channels} equal channels")
        if _is_odd(image, usual):
            others = f"; most are {usual[0]} x {usual[1]}" if usual else ""
            yield "odd size", Fault(name, size + others)


def _usual(seen: Survey) -> tuple[int, int] | None:
    """The size that nearly all images have; None where there is none."""
    for size, count in seen.sizes().most_common(1):
        if count >= USUAL * len(seen.facts):
            return size
    return None


def _is_odd(image: ImageFacts, usual: tuple[int, int] | None) -> bool:
    short, long = sorted((image.height, image.width))
    size = (image.height, image.width)
    return size != usual if usual else long > LONGEST * short


def _of_classes(counts: Mapping[str, int]) -> Iterator[tuple[str, Fault]]:
    for name, count in counts.items():
        if not count:
            yield "empty class", Fault(name, "0 images")
