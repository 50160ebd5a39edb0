"""What `sslkit data` prints. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sslkit.analysis.image_data.duplicate_images import Copy, Duplicates
    from sslkit.analysis.image_data.image_faults import Fault, SplitFaults
    from sslkit.analysis.image_data.image_statistics import ImageStatistics, Side
    from sslkit.analysis.image_data.network_inputs import NetworkInput

NAMED = 3
"""Images that are named as examples; the JSON file has all."""
LISTED = 10
"""Classes up to which each is listed."""
HEADINGS = ("channel", "mean", "std", "min", "1 %", "99 %", "max")


def statistics_lines(statistics: ImageStatistics) -> Iterator[str]:
    """All but the YAML."""
    rows = [*_overview(statistics), *_classes(statistics.classes), *_unreadable(statistics)]
    copies = statistics.duplicates
    rows += [("duplicates", text) for text in (_NOT_COMPARED if copies is None else _copies(copies))]
    for label, text in rows:
        yield f"{label:<11} {text}"
    if statistics.channels:
        yield ""
        yield from aligned([HEADINGS, *_channels(statistics)])
    yield ""
    if statistics.signal is not None:
        yield f"# stopped by {statistics.signal}: of the {statistics.read:,} images that were read until then"
    for channel in statistics.constant:
        yield f"# channel {channel} is constant: `normalize` takes no deviation of 0, so leave the channel out"
    yield "# in [0, 1], before crops; every pixel of whole images counts the same"


_NOT_COMPARED = ("not looked for in a sample; without --images they are",)


def input_lines(inputs: Sequence[NetworkInput], seed: int) -> Iterator[str]:
    """What a sheet shows, and the values of each view after normalization."""
    first, last = inputs[0], inputs[-1]
    steps = f"step {first.step}" if first.step == last.step else f"steps {first.step} to {last.step}"
    yield f"{len(inputs)} images of {steps}, seed {seed}"
    for view in first.crops:
        crops = [one.crops[view] for one in inputs]
        count, channels, side, _ = crops[0].shape
        low, high = min(float(x.min()) for x in crops), max(float(x.max()) for x in crops)
        mean = sum(float(x.mean()) for x in crops) / len(crops)
        yield (
            f"view {view}: {count} x {side} pixels of {channels} channels, normalized {low:.3g} to {high:.3g}, "
            f"mean {mean:.2f}"
        )


def fault_lines(results: Mapping[str, SplitFaults]) -> Iterator[str]:
    """A table of faults by kind and split, with the first of each."""
    for split, one in results.items():
        stopped = f", stopped by {one.signal}" if one.signal else ""
        yield f"{split + ':':<11} {one.read:,} of {one.images:,} images decoded{stopped}"
    kinds = list(dict.fromkeys(kind for one in results.values() for kind in one.faults))
    if not kinds:
        yield "no faults"
        return
    yield ""
    counts = [[f"{len(one.faults.get(kind, ())):,}" for one in results.values()] for kind in kinds]
    table = aligned([["fault", *results], *([kind, *row] for kind, row in zip(kinds, counts, strict=True))])
    first = [next(one.faults[kind][0] for one in results.values() if kind in one.faults) for kind in kinds]
    for line, fault in zip(table, [None, *first], strict=True):
        yield line if fault is None else f"{line}  {_first(fault)}"


def _first(fault: Fault) -> str:
    """A reason that names its image needs no second name."""
    return fault.detail if fault.name in fault.detail else f"{fault.name}: {fault.detail}"


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """`rows` as columns, the first to the left and all others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([first, *(f"{cell.strip():>{len(cell)}}" for cell in others)]).rstrip()


def some(texts: Iterable[str], most: int = NAMED) -> str:
    """The first of `texts`, and whether there are more."""
    listed = list(texts)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


def _overview(statistics: ImageStatistics) -> Iterator[tuple[str, str]]:
    yield "images", ", ".join(f"{count:,} {split}" for split, count in statistics.images.items())
    sample = "all" if statistics.read == statistics.images["train"] else f"a sample (seed {statistics.seed}),"
    dtypes = ", ".join(f"{count:,} {dtype}" for dtype, count in statistics.dtypes.items())
    yield "read", f"{sample} {statistics.read:,} training images: {dtypes}"
    if statistics.height is not None and statistics.width is not None:
        height, width = _side(statistics.height), _side(statistics.width)
        distinct = len(statistics.sizes)
        (tall, wide), count = statistics.sizes.most_common(1)[0]
        text = f"{distinct:,} different, {count:,} of them {tall} x {wide}; height {height}; width {width}"
        yield "sizes", f"all {tall} x {wide}" if distinct == 1 else text


def _side(side: Side) -> str:
    return f"{side.least} to {side.most}, median {side.median:g}"


def _channels(statistics: ImageStatistics) -> Iterator[list[str]]:
    for number, channel in enumerate(statistics.channels):
        name = statistics.channel_names[number : number + 1]
        yield [" ".join([str(number), *name]), *(f"{value:.4g}" for value in channel)]


def _classes(classes: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, str]]:
    for split, counts in classes.items():
        ordered = sorted(counts, key=counts.__getitem__)
        if len(counts) <= LISTED:
            text = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        else:
            few, many = ordered[0], ordered[-1]
            text = f"{len(counts):,}, from {few} ({counts[few]:,}) to {many} ({counts[many]:,})"
        yield "classes", f"{split}: {text}"
    if not classes:
        yield "classes", "no labels"


def _unreadable(statistics: ImageStatistics) -> Iterator[tuple[str, str]]:
    if statistics.unreadable:
        reasons = some(reason for _, reason in statistics.unreadable)
        yield "unreadable", f"{len(statistics.unreadable):,} training images: {reasons}"
    else:
        yield "unreadable", "none"


def _copies(copies: Duplicates) -> Iterator[str]:
    for split, groups in copies.within.items():
        if groups:
            yield f"{copies.surplus(split):,} {split} images are copies of others: {some(map(_group, groups))}"
    if copies.between:
        pairs = some(map(_group, copies.between))
        yield f"{copies.leaked():,} test images are among the training images, so that scores are too good: {pairs}"
    if copies.unknown:
        yield f"not known of the {' and the '.join(copies.unknown)} images, whose source has no digests"
    elif not copies.between and not any(copies.within.values()):
        yield "none"


def _group(copies: Sequence[Copy]) -> str:
    return " = ".join(copy.name for copy in copies[:NAMED]) + " = ..." * (len(copies) > NAMED)
