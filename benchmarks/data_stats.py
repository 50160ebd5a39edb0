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
from contextlib import closing
from pathlib import Path

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


def epoch(source: Source, workers: int, *, in_workers: bool) -> float:
    """Seconds until all images were decoded and cropped once."""
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
    began = time.perf_counter()
    with closing(feed):
        images = sum(len(batch.rows) for step in range(order.steps_per_epoch) for batch in feed.step(step))
    return (time.perf_counter() - began) * len(source) / images


def statistics(fields: DataFields) -> float:
    """Seconds of all that `sslkit data stats` does."""
    began = time.perf_counter()
    assert image_statistics(fields).channels
    return time.perf_counter() - began


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
                f"stats {len(source) / stats:6.0f} img/s   epoch, crops cut {len(source) / cut:6.0f} img/s "
                f"(stats {cut / stats:.2f} x as fast)   crops finished {len(source) / whole:6.0f} img/s "
                f"({whole / stats:.2f} x)",
                flush=True,
            )


if __name__ == "__main__":
    main()
