"""`sslkit data pack`: the images of a source in tar shards, written in parallel and resumed after a kill."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple, final

from sslkit.analysis.image_data.data_fields import HasImages, splits
from sslkit.analysis.image_data.reading_bar import ReadingBar
from sslkit.analysis.packing.pack_plan import Plan, Shard, images_for, sample_of
from sslkit.analysis.packing.pack_record import PackRecord
from sslkit.analysis.packing.shard_writer import AbandonedError, LeftOut, Written, write_shard
from sslkit.analysis.packing.stored_image import stored_image
from sslkit.core.source import Source
from sslkit.errors import DataError, Interrupted, SslkitWarning
from sslkit.runs.owner import owned
from sslkit.runtime.signals import StopRequest

LOOK = 0.2
"""Seconds between looks at signals."""


class Packed(NamedTuple):
    """What a pack wrote."""

    shards: list[Written]
    classes: tuple[str, ...]
    channels: int
    """Of every image."""
    resumed: int
    """Shards that were there already."""

    @property
    def left_out(self) -> list[LeftOut]:
        """Images that could not be read."""
        return [lost for shard in self.shards for lost in shard.left_out]

    @property
    def images(self) -> int:
        """In all shards."""
        return sum(shard.images for shard in self.shards)


class Size(NamedTuple):
    """Of a shard."""

    images: int | None = None
    bytes: int = 256 * 10**6
    """About so many, by the mean of some images, where `images` is not set."""


def pack_images(
    spec: HasImages,
    folder: Path,
    size: Size | None = None,
    shuffled: bool = True,
    bar: ReadingBar | None = None,
) -> Packed:
    """Write the images of every split of `spec` to shards in `folder`, and `shards.json` with their checksums.

    Files are copied byte for byte; images that have none become PNG. A pack that was killed goes on with the shards
    that are missing, and ends with the files of one that was not.

    Args:
        spec: a `RunSpec`, or the fields of one; `workers` threads write shards.
        folder: is made; one that holds another pack is refused.
        size: of shards. Default: about 256 MB.
        shuffled: whether images are in an order drawn from `spec.seed`, so that each shard has images of all classes.
        bar: shows how far it is.

    Raises:
        DataError: there are no training images, files are missing, or too many cannot be read.
        CheckpointError: `folder` holds another pack.
        Interrupted: a signal came; the same command goes on.
        InUseError: another process writes there.
        StorageError: the disk is full, or may not be written.
    """
    sources = splits(spec)
    for split, source in sources.items():
        if source.regions:
            warnings.warn(f"the masks of the {split} images are not packed", SslkitWarning, stacklevel=2)
    prints, counts = _of(sources)
    plan = Plan(prints, counts, shuffled, spec.seed, _images_a_shard(sources["train"], size or Size()))
    with owned(folder, warnings.warn):
        record = PackRecord(folder, plan)
        written = record.begin()
        resumed = len(written)
        missing = [shard for shard in plan.shards() if shard.name not in written]
        with StopRequest(speaks=False) as stop, bar or contextlib.nullcontext():
            job = _Job(folder, sources, record, stop, _Progress(bar, sum(counts.values()), _count(written)))
            written |= job.run(missing, max(1, spec.workers))
        every = [written[shard.name] for shard in plan.shards()]
        packed = Packed(every, sources["train"].classes, sources["train"].channels, resumed)
        _require_readable(packed, spec.max_corrupt)
        record.finish(every, packed.classes)
    return packed


def _of(sources: Mapping[str, Source]) -> tuple[dict[str, str], dict[str, int]]:
    """Fingerprints and numbers of images of all splits."""
    prints = {split: source.fingerprint for split, source in sources.items()}
    return prints, {split: len(source) for split, source in sources.items()}


def _images_a_shard(source: Source, size: Size) -> int:
    if size.images is not None:
        return size.images
    stored = list[int]()
    for index in sample_of(source):
        with contextlib.suppress(DataError):
            stored.append(len(stored_image(source, index).content))
    return images_for(size.bytes, stored)


def _count(written: Mapping[str, Written]) -> int:
    return sum(one.images + len(one.left_out) for one in written.values())


def _require_readable(packed: Packed, max_corrupt: float) -> None:
    """Pass where no more images are left out than a run would skip."""
    lost, total = packed.left_out, packed.images + len(packed.left_out)
    if len(lost) > max_corrupt * total:
        raise DataError(
            f"data: {len(lost):,} of {total:,} images cannot be read, more than max_corrupt={max_corrupt}; the first: "
            f"{lost[0].reason}. Repair or remove them, or raise `max_corrupt`"
        )


@final
class _Progress:
    """Images that are done, counted by several threads and shown by one."""

    def __init__(self, bar: ReadingBar | None, total: int, done: int) -> None:
        self._bar, self._total, self._done, self._lock = bar, total, done, threading.Lock()

    def tick(self) -> None:
        with self._lock:
            self._done += 1

    def show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._done, self._total)


@final
class _Job:
    """Threads that each write a shard."""

    def __init__(
        self,
        folder: Path,
        sources: Mapping[str, Source],
        record: PackRecord,
        stop: StopRequest,
        progress: _Progress,
    ) -> None:
        self.folder, self.sources, self.record, self.stop, self.progress = (
            folder,
            sources,
            record,
            stop,
            progress,
        )
        self._left = threading.Event()

    def run(self, shards: list[Shard], threads: int) -> dict[str, Written]:
        """Write `shards`, by name. The first error, or a signal, ends it; shards that are whole stay."""
        written = dict[str, Written]()
        with ThreadPoolExecutor(threads) as pool:
            futures = {pool.submit(self._write, shard) for shard in shards}
            try:
                while futures:
                    done, futures = wait(futures, timeout=LOOK, return_when=FIRST_COMPLETED)
                    self._record(done, written)
                    self.progress.show()
                    for future in done:
                        future.result()
                    if self.stop.signal is not None and futures:
                        text = f"stopped by {self.stop.signal}; the same command goes on from {self.folder}"
                        raise Interrupted(text, self.stop.signal)
            finally:
                self._left.set()
                pool.shutdown(wait=True, cancel_futures=True)
                self._record(futures, written)
        return written

    def _record(self, futures: Iterable[Future[Written]], written: dict[str, Written]) -> None:
        """The shards that were written whole."""
        for future in futures:
            if not future.cancelled() and future.exception() is None:
                one = future.result()
                self.record.add(one)
                written[one.name] = one

    def _write(self, shard: Shard) -> Written:
        return write_shard(self.folder, shard, self.sources[shard.split], self._tick)

    def _tick(self) -> None:
        if self._left.is_set():
            raise AbandonedError
        self.progress.tick()
