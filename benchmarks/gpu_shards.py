"""Images a second from shards of JPEG files, alone or before a step, as `gpu.py` measures them."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_steps import How, built, fitting, spec_of
from PIL import Image

from sslkit.build.system import make_views
from sslkit.core.source import Source
from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import PREFETCH, Loading
from sslkit.data.loaders import Feed, WorkerFeed
from sslkit.data.sampler import BatchShare, Order
from sslkit.specs.load import changed, parse
from sslkit.specs.run import RunSpec

SHARDS, IMAGES = 8, 256
"""Shards, and images of each."""
WIDTH, HEIGHT, QUALITY = 500, 375, 90
"""Of a JPEG file: the most frequent size of ImageNet's."""
TINY = (2, 8, 64, 48)
STOP = 1_000_000


def photo(number: int, width: int, height: int) -> bytes:
    """A JPEG file of smooth shapes with some noise, which takes about as many bytes a pixel as a photograph."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    pixels = (smooth + random.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def write_shards(folder: Path, tiny: bool) -> Path:
    """Shards below `folder`, each whole or not there; those that are there are kept."""
    shards, images, width, height = TINY if tiny else (SHARDS, IMAGES, WIDTH, HEIGHT)
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        path = folder / f"train-{shard:06d}.tar"
        if path.exists():
            continue
        half = folder / "half-written"
        with tarfile.open(half, "w") as tar:
            for number in range(shard * images, (shard + 1) * images):
                for ending, content in (
                    ("jpg", photo(number, width, height)),
                    ("cls", b"%d" % (number % 10)),
                ):
                    info = tarfile.TarInfo(f"{number:08d}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        half.replace(path)
    return folder


def run_of(name: str, mode: str, how: How, batch: int, shards: Path) -> RunSpec:
    """The run of method `name` on the shards. Raises SpecError where `sslkit-shards` is not installed."""
    spec = spec_of(name, "eager" if how.tiny or mode == "feed" else "compiled", how, batch)
    fields = spec.model_dump(mode="json", exclude_unset=True)
    workers = 0 if how.tiny else os.cpu_count() or 1
    data = {"kind": "webdataset", "shards": str(shards)}
    return parse(changed(fields, [("data", data), ("workers", workers)]))


def feed_of(spec: RunSpec, source: Source, how: How) -> Feed:
    """As the trainer reads such a source."""
    order = Order(len(source), spec.batch_size, 0, BatchShare(0, 1, spec.batch_size))
    pipeline = Pipeline(spec.views, make_views(spec, source.channels), 0)
    loading = Loading(spec.workers or 0, "batch_size")
    return WorkerFeed(
        source, order, pipeline, how.device, start=0, stop=STOP, how=loading, unreadable=lambda *_: None
    )


def measured_shards(name: str, mode: str, how: How, shards: Path) -> dict[str, Any]:
    """Images a second: read, decoded, cut and colored (`feed`), or with the `step` of method `name` after them."""

    def measure(batch: int) -> dict[str, Any]:
        spec = run_of(name, mode, how, batch, shards)
        source = spec.data.build("train")
        assert source is not None, "train is always there"
        feed = feed_of(spec, source, how)
        stepper = built(spec, how)[0] if mode == "step" else None

        def step(number: int) -> None:
            batches = feed.step(number)
            if stepper is None:
                list(batches)
            else:
                stepper(number, batches)
            if how.device.type == "cuda":
                torch.cuda.synchronize(how.device)

        try:
            begin = time.perf_counter()
            ready = 2 + PREFETCH * (spec.workers or 0)  # made while the first was waited for
            for number in range(ready):
                step(number)
            first = time.perf_counter()
            count = 0
            while count < 2 or time.perf_counter() - first < how.seconds:
                step(ready + count)
                count += 1
            seconds = time.perf_counter() - first
        finally:
            feed.close()
        return {
            "batch": batch,
            "step_ms": 1e3 * seconds / count,
            "steps": count,
            "images_per_s": batch * count / seconds,
            "first_step_s": first - begin,
            "workers": spec.workers,
            "images": len(source),
        }

    return fitting(measure, name, how)
