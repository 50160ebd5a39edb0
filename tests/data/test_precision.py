"""Values that differ by less than 1/255 arrive in the network as they are, whatever way images take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.core.augment import to_float
from sslkit.core.source import TYPES
from sslkit.core.view import View
from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import Loading
from sslkit.data.loaders import ResidentFeed, WorkerFeed
from sslkit.data.resident import resident
from sslkit.data.sampler import BatchShare, Order
from sslkit.data.unreadable import Decoded
from sslkit.evaluate import features
from sslkit.evaluate.features import _readable
from sslkit.specs.views import ViewSpec
from tests import tiny
from tests.fakes_train import MadeSource, pictures

COUNT, SIDE, STEPS = 6, 16, 3
VIEW = View(SIDE, 1, 1, (0.25,), (0.5,))
ORDER = Order(COUNT, COUNT, 0, BatchShare(0, 1, 2))
WIDE = [torch.uint16, torch.int16, torch.float32]
CHAINS = {
    "nothing": [],
    "flip": [{"kind": "flip"}],
    "crop": [{"kind": "random_resized_crop"}],
    "affine, crop": [{"kind": "random_affine"}, {"kind": "random_resized_crop"}],
    "resize, blur": [{"kind": "resize"}, {"kind": "gaussian_blur", "probability": 1.0}],
    "colors": [{"kind": "random_resized_crop"}, {"kind": "color_jitter"}, {"kind": "solarize"}],
}


def unexpected(index, reason):
    raise AssertionError(f"image {index} was reported: {reason}")


def ramps(dtype, side=SIDE):
    """`[COUNT, 1, side, side]`: neighbors differ by 1/65535, so that bytes would hold a few levels of each image."""
    values = np.arange(COUNT * side * side).reshape(COUNT, 1, side, side) % 30_000 + 30_000
    levels = {torch.uint16: values, torch.int16: values - 32768, torch.float32: values / 65535}[dtype]
    return torch.from_numpy(levels.astype(str(dtype).removeprefix("torch.")))


def held(source):
    """`source` with its images in memory."""
    source.resident = lambda: source.images
    return source


def pipeline(augment, in_workers=False):
    spec = ViewSpec(size=SIDE, augment=augment, normalize={"mean": [0.25], "std": [0.5]})
    return Pipeline({"v": spec}, {"v": VIEW}, 3, in_workers=in_workers)


def crops(feed):
    try:
        return torch.cat([batch.images["v"] for step in range(STEPS) for batch in feed.step(step)], dim=1)[0]
    finally:
        feed.close()


def from_workers(source, augment, workers=0, in_workers=False):
    feed = WorkerFeed(
        source, ORDER, pipeline(augment, in_workers), tiny.CPU.device,
        start=0, stop=STEPS, how=Loading(workers, "batch_size"), unreadable=unexpected,
    )  # fmt: skip
    return crops(feed)


def from_memory(source, augment):
    images = resident(source, 1 << 30, tiny.CPU.device, 0, unexpected)
    assert images.dtype == source.images.dtype
    return crops(ResidentFeed(images, ORDER, pipeline(augment), tiny.CPU.device))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dtype", WIDE)
def test_a_ramp_arrives_with_all_its_values(dtype, workers):
    """Through resident memory and through worker processes, both equal to the source's values."""
    source = MadeSource(ramps(dtype))
    given = (to_float(source.images).flatten(1).double() - 0.25) / 0.5
    expected = torch.cat(
        [given[indices] for step in range(STEPS) for indices, _ in ORDER.micro_batches(step)]
    )
    for arrived in (from_memory(source, []), from_workers(source, [], workers)):
        assert arrived.dtype == torch.float32
        assert all(len(image.unique()) == SIDE * SIDE for image in arrived), "no two values became one"
        torch.testing.assert_close(arrived.flatten(1).double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [SIDE, 90, 140])
@pytest.mark.parametrize("augment", CHAINS.values(), ids=CHAINS.keys())
def test_memory_and_workers_agree(augment, side):
    """As do all types of the same values, and workers that augment too."""
    source = MadeSource(ramps(torch.uint16, side))
    memory = from_memory(source, augment)
    assert torch.equal(from_workers(source, augment), memory)
    assert torch.equal(from_workers(source, augment, in_workers=True), memory)
    assert torch.equal(from_memory(held(source), augment), memory)
    for dtype in (torch.int16, torch.float32):
        torch.testing.assert_close(
            from_memory(MadeSource(ramps(dtype, side)), augment), memory, rtol=0, atol=1e-5
        )


class Mixed(MadeSource):
    """Bytes, and 16 bits where the index is odd."""

    def load(self, index):
        image = self.images[index]
        return image if index % 2 == 0 else (image.int() * 257 + 100).clamp(max=65535).to(torch.uint16)


@pytest.mark.parametrize("side", [SIDE, 90])
@pytest.mark.parametrize("augment", CHAINS.values(), ids=CHAINS.keys())
def test_images_of_several_types_are_each_what_they_are_alone(augment, side):
    source = Mixed(pictures(COUNT, side=side))
    images, rows, pipe = [source.load(i) for i in range(COUNT)], torch.arange(COUNT), pipeline(augment)
    together = pipe.rest(pipe.first(images, 0, rows), 0, rows)["v"]
    for image, row in zip(images, rows, strict=True):
        first = pipe.first([image], 0, row[None])
        assert first["v"].dtype == (torch.uint8 if image.dtype == torch.uint8 else torch.float32)
        alone = pipe.rest(first, 0, row[None])["v"]
        torch.testing.assert_close(together[:, row], alone[:, 0], rtol=0, atol=1e-6)
    assert resident(source, 1 << 30, tiny.CPU.device, 0, unexpected) is None, "one tensor has one type"


def test_pieces_of_a_mixed_batch_have_one_scale(monkeypatch):
    """One piece of bytes and one with others."""
    monkeypatch.setattr("sslkit.data.crops.AT_ONCE", 1)
    monkeypatch.setattr("sslkit.data.crops.FEWEST", 2)
    images = [*pictures(4, side=SIDE), *ramps(torch.uint16)[:2]]
    pipe, rows = pipeline(CHAINS["crop"]), torch.arange(6)
    cut = pipe.first(images, 0, rows)["v"]
    assert cut.dtype == torch.float32
    assert float(cut.max()) <= 1
    alone = pipe.first(images[:4], 0, rows[:4])["v"]
    assert torch.equal(cut[:, :4], to_float(alone))


def test_budgets_count_bytes_and_not_values():
    source = MadeSource(ramps(torch.float32))
    size = COUNT * SIDE * SIDE * 4
    assert resident(source, size, tiny.CPU.device, 0, unexpected) is not None
    assert resident(source, size - 1, tiny.CPU.device, 0, unexpected) is None
    assert resident(held(source), size - 1, torch.device("cuda"), 0, unexpected) is None


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("side", [SIDE, 40])
def test_evaluators_read_what_training_reads(dtype, side):
    source = MadeSource(ramps(dtype, side))
    loading = features.Loading(VIEW, 1.0, 4, 0, tiny.CPU, unexpected)
    decoded = features.rows(source, lambda images, _: images.flatten(1), loading).values
    kept = features.rows(held(source), lambda images, _: images.flatten(1), loading).values
    torch.testing.assert_close(kept, decoded, rtol=0, atol=1e-6)
    assert all(len(row.unique()) > 200 for row in decoded)
    if side == SIDE:
        expected = (to_float(source.images).flatten(1) - 0.25) / 0.5
        assert torch.equal(decoded.float(), expected)


def test_a_batch_of_several_types_becomes_floats_of_one_scale():
    items = [(i, Decoded(torch.ones(1, 2, 2).mul(value).to(dtype))) for i, (value, dtype) in enumerate(
        [(255, torch.uint8), (1.0, torch.float32), (65535, torch.int32)]
    )]  # fmt: skip
    items[2] = (2, Decoded(items[2][1].image.to(torch.uint16)))
    _, images, reasons = _readable([*items, (3, Decoded(None, "broken"))])
    assert images.dtype == torch.float32
    assert images.unique().tolist() == [1]
    assert reasons == [(3, "broken")]


def test_every_type_of_sources_is_held_here():
    assert {torch.uint8, *WIDE} == TYPES
