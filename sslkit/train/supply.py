"""Choice of the batch feed: images resident on the training device, or worker processes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sslkit.core.source import Source
from sslkit.core.view import View
from sslkit.data.crops import Pipeline, Samples
from sslkit.data.decoding_workers import Loading
from sslkit.data.loaders import Feed, ResidentFeed, WorkerFeed, on_device
from sslkit.data.resident import resident_streams
from sslkit.data.sampler import Batches
from sslkit.data.unreadable import Unreadable
from sslkit.runtime.line_file import Warn
from sslkit.runtime.mps import exact_device
from sslkit.specs.byte_sizes import byte_count
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed


def supply(
    spec: RunSpec,
    composed: Composed,
    device: torch.device,
    start: int,
    unreadable: Unreadable,
    warn: Warn = lambda text: None,
) -> Feed:
    """The batches of `spec` from step `start` on.

    Images that fit in `spec.resident` and are of one size are held on `device`; others come from workers. Either
    gives the same batches. `warn` is told what befalls workers.

    Raises:
        DataError: no image can be read, or too many cannot.
        WorkerError: workers died while they decoded the images to be held.
    """
    source, views = composed.source, composed.env.views
    budget, exact = byte_count(spec.resident), exact_device(device)
    images = resident_streams(source, views, budget, exact, spec.workers, unreadable)
    steps = range(start, composed.length.steps)
    return feed_of(spec, source, images, views, composed.order, steps, device, unreadable, warn)


def feed_of(
    spec: RunSpec,
    source: Source,
    images: Mapping[str, Samples] | None,
    views: Mapping[str, View],
    order: Batches,
    steps: range,
    device: torch.device,
    unreadable: Unreadable,
    warn: Warn,
) -> Feed:
    """The crops of `views` in `order`: of `images` that are held, or by workers where there are none.

    Workers run ahead through `steps`.
    """
    exact = exact_device(device)
    some = {name: spec.views[name] for name in views}
    if images is not None:
        return on_device(ResidentFeed(images, order, Pipeline(some, views, spec.seed), exact), device)
    pipeline = Pipeline(some, views, spec.seed, in_workers=augments_in_workers(spec, exact))
    how = Loading(spec.workers, batch_field(spec), warn)
    feed = WorkerFeed(
        source, order, pipeline, exact, start=steps.start, stop=steps.stop, how=how, unreadable=unreadable
    )
    return on_device(feed, device)


def batch_field(spec: RunSpec) -> str:
    """The field that sets how many images a worker hands over at a time."""
    return "batch_size" if spec.micro_batch_size is None else "micro_batch_size"


def augments_in_workers(spec: RunSpec, device: torch.device) -> bool:
    """Whether worker processes do all augmentations: by default where the training device is a CPU as well."""
    return spec.augment_on == "workers" or (spec.augment_on == "auto" and device.type == "cpu")
