"""Batches from memory and from worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import torch
from PIL import Image

from sslkit.core.view import View
from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import Loading
from sslkit.data.loaders import ResidentFeed, WorkerFeed
from sslkit.data.sampler import BatchShare, Order
from sslkit.data.unreadable import readable
from sslkit.errors import DataError
from sslkit.specs.views import ViewSpec
from sslkit_sources.specs.folder import Folder
from tests import tiny
from tests.fakes_train import MadeSource, pictures

COUNT, BATCH, STOP = 10, 4, 5
AUGMENT = [{"kind": "random_resized_crop"}, {"kind": "flip"}, {"kind": "random_affine", "degrees": 9}]
ORDER = Order(COUNT, BATCH, 1, BatchShare(0, 1, 2))


def made_pipeline(channels=1):
    views = {"g": View(8, 2, channels, (0.4,) * channels, (0.2,) * channels)}
    return Pipeline({"g": ViewSpec(size=8, crops=2, augment=AUGMENT)}, views, 1)


def unexpected(index, reason):
    raise AssertionError(f"image {index} was reported: {reason}")


def worker_feed(source, *, workers=0, start=0, stop=STOP, unreadable=unexpected, order=ORDER):
    return WorkerFeed(
        source, order, made_pipeline(source.channels), tiny.CPU.device,
        start=start, stop=stop, how=Loading(workers, "batch_size"), unreadable=unreadable,
    )  # fmt: skip


def batches(feed, start=0, stop=STOP):
    try:
        return [batch for step in range(start, stop) for batch in feed.step(step)]
    finally:
        feed.close()


def same(one, two):
    """For each batch of two lists of the same length, whether rows and images are equal."""
    return [
        torch.equal(a.rows, b.rows)
        and a.images.keys() == b.images.keys()
        and all(torch.equal(a.images[name], b.images[name]) for name in a.images)
        for a, b in zip(one, two, strict=True)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for i, image in enumerate(pictures(COUNT, 3)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / f"{i:02d}.png")
    return Folder(root=root).build("train")


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_give_the_batches_that_memory_gives(folder, workers):
    images = torch.stack([folder.load(i) for i in range(COUNT)])
    resident = batches(ResidentFeed(images, ORDER, made_pipeline(3), tiny.CPU.device))
    assert len(resident) == STOP * BATCH // 2
    assert resident[0].images["g"].shape == (2, 2, 3, 8, 8)
    assert [batch.rows.tolist() for batch in resident[:2]] == [[0, 1], [2, 3]]
    assert all(same(batches(worker_feed(folder, workers=workers)), resident))


@pytest.mark.parametrize("workers", [0, 2])
def test_starting_in_the_middle_equals_skipping(folder, workers):
    whole = batches(worker_feed(folder))
    assert all(same(batches(worker_feed(folder, workers=workers, start=3), 3), whole[6:]))


def test_a_step_from_memory_depends_on_its_number_only():
    feed = ResidentFeed(pictures(COUNT), ORDER, made_pipeline(), tiny.CPU.device)
    assert all(same(list(feed.step(4)), batches(feed)[8:]))
    assert all(same(list(feed.step(4)), list(feed.step(4))))


def test_ranks_share_a_batch():
    whole = batches(worker_feed(MadeSource(pictures(COUNT))), 0, 2)
    parts = [
        batches(
            worker_feed(MadeSource(pictures(COUNT)), order=Order(COUNT, BATCH, 1, BatchShare(r, 2, 2))), 0, 2
        )
        for r in (0, 1)
    ]
    assert all(same([batch for pair in zip(*parts, strict=True) for batch in pair], whole))


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_are_replaced_by_the_next_readable_one_and_reported(workers):
    images, said = pictures(COUNT), []
    broken = frozenset({2, 3, 9})
    source = MadeSource(images, broken=broken)
    got = batches(worker_feed(source, workers=workers, unreadable=lambda i, reason: said.append((i, reason))))
    mended = images.clone()
    mended[2], mended[3], mended[9] = images[4], images[4], images[0]
    assert all(same(got, batches(worker_feed(MadeSource(mended)))))
    assert {index for index, _ in said} == broken
    assert (9, "image 9 is broken") in said


@pytest.mark.parametrize("workers", [0, 1])
def test_a_source_without_a_readable_image_is_one_readable_error(workers):
    source = MadeSource(pictures(COUNT), broken=frozenset(range(COUNT)))
    with pytest.raises(DataError) as caught:
        batches(worker_feed(source, workers=workers))
    assert str(caught.value).startswith("10 images in a row cannot be read; the first: image ")
    assert "Traceback" not in str(caught.value)


def test_readable_goes_round():
    source = MadeSource(pictures(4), broken=frozenset({2, 3}))
    image, reasons = readable(source, 2)
    assert torch.equal(image, source.images[0])
    assert reasons == [(2, "image 2 is broken"), (3, "image 3 is broken")]
    image, reasons = readable(source, 1)
    assert torch.equal(image, source.images[1])
    assert reasons == []


@pytest.mark.parametrize("workers", [0, 1])
def test_feeding_leaves_torchs_generator_alone(workers):
    """Dropout draws from it within a step, and a resumed run starts its workers at another step."""
    before = torch.get_rng_state()
    batches(worker_feed(MadeSource(pictures(COUNT)), workers=workers))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
)
def test_workers_outlive_a_signal_to_the_whole_group(number):
    """The main process still needs their batches to end its step."""
    feed = worker_feed(MadeSource(pictures(COUNT)), workers=1, stop=60)
    try:
        first = list(feed.step(0))
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, number)
        later = [batch for step in range(1, 60) for batch in feed.step(step)]
    finally:
        feed.close()
    assert len(first) == 2
    assert len(later) == 59 * 2
