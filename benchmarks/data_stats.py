"""What `sslkit data stats` takes, beside what one training epoch takes to read the same images.

    python benchmarks/data_stats.py [--images 5000] [--size 500 375] [--root FOLDER] [--workers 2] [--rounds 3]

Makes a folder of JPEGs (or takes one). The epoch is the feed of a run alone, without a network: decoding, 224-pixel
crops and flips by the same pool of workers; once with crops that the workers finish, as beside a CPU, and once with
crops that they only cut, as beside a GPU. Hashing for duplicates counts. The system has the files in memory throughout.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from fingerprint import VIEW, make

from sslkit.analysis.image_data.data_fields import DataFields
from sslkit.analysis.image_data.image_statistics import image_statistics
from sslkit.core.context import View
from sslkit.core.source import Source
from sslkit.data.content_hash import VARIABLE
from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import Loading
from sslkit.data.loaders import WorkerFeed
from sslkit.data.sampler import BatchShare, Order
from sslkit.specs.load import parse_as
from sslkit.specs.views import ViewSpec

BATCH = 100


class Cost(NamedTuple):
    """What a pass over the images took."""

    seconds: float
    cpu: float
    """Of this process and its workers, which other load on the machine hardly changes."""

    def over(self, other: Cost) -> str:
        """How many times as long as `other` it took, and as much processor time."""
        return f"{self.seconds / other.seconds:.2f} x the time, {self.cpu / other.cpu:.2f} x the CPU time"


@contextmanager
def measured(costs: list[Cost]) -> Iterator[None]:
    """Append the cost of the block, whose workers have ended."""
    began, before = time.perf_counter(), sum(os.times()[:4])
    yield
    costs.append(Cost(time.perf_counter() - began, sum(os.times()[:4]) - before))


def epoch(source: Source, workers: int, *, in_workers: bool) -> Cost:
    """Decode and crop all images once."""
    spec = parse_as(ViewSpec, VIEW)
    views = {"global": View(224, 1, source.channels, spec.normalize.mean, spec.normalize.std)}
    pipeline = Pipeline({"global": spec}, views, 0, in_workers=in_workers)
    if not in_workers:
        setattr(pipeline, "rest", lambda crops, *_: crops)  # noqa: B010 -- the work of another device
    order = Order(len(source), BATCH, 0, BatchShare(0, 1, BATCH))
    feed = WorkerFeed(
        source, order, pipeline, torch.device("cpu"), start=0, stop=order.steps_per_epoch,
        how=Loading(workers, "batch_size"), unreadable=lambda *_: None,
    )  # fmt: skip
    costs: list[Cost] = []
    with measured(costs), closing(feed):
        images = sum(len(batch.rows) for step in range(order.steps_per_epoch) for batch in feed.step(step))
    return Cost(*(value * len(source) / images for value in costs[0]))


def statistics(fields: DataFields) -> Cost:
    """All that `sslkit data stats` does."""
    costs: list[Cost] = []
    with measured(costs):
        assert image_statistics(fields).channels
    return costs[0]


def main() -> None:
    """Print the ratios of each round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--root", type=Path, help="a folder of images to take instead")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or make(Path(folder) / "images", args.images, (args.size[0], args.size[1]))
        fields = DataFields.model_validate(
            {"data": {"kind": "folder", "root": str(root)}, "workers": args.workers}
        )
        source = fields.data.build("train")
        assert source is not None
        print(f"{len(source):,} images, {args.workers} workers")
        for round_ in range(args.rounds):
            os.environ[VARIABLE] = str(Path(folder) / f"cache{round_}")
            stats = statistics(fields)
            cut = epoch(source, args.workers, in_workers=False)
            whole = epoch(source, args.workers, in_workers=True)
            print(
                f"stats {len(source) / stats.seconds:6.0f} img/s   epoch, crops cut: {cut.over(stats)}   "
                f"crops finished: {whole.over(stats)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
