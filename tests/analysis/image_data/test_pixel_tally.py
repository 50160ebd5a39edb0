"""Counts of pixel values, held against NumPy over all values at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit.analysis.image_data.pixel_tally import BINS, PixelTally, percentiles
from sslkit.core.augment import to_float


def images(dtype: torch.dtype, channels: int, count: int = 5) -> list[Tensor]:
    random = np.random.default_rng(channels)
    shapes = [(channels, 6 + i % 2, 9) for i in range(count)]
    if dtype == torch.float32:
        return [torch.from_numpy(random.random(shape, np.float32) ** 2) for shape in shapes]
    limits = torch.iinfo(dtype)
    kind = np.dtype(str(dtype).removeprefix("torch."))
    return [torch.from_numpy(random.integers(limits.min, limits.max // 2, s, kind)) for s in shapes]


def tally(some: list[Tensor]) -> PixelTally:
    """Each image for itself, merged."""
    total = PixelTally(len(some[0]))
    for image in some:
        one = PixelTally(len(image))
        one.add([image])
        total.merge(one)
    return total


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.float32])
def test_summaries_are_those_of_all_pixels_at_once(dtype: torch.dtype, channels: int) -> None:
    some = images(dtype, channels)
    every = np.concatenate([to_float(image).double().flatten(1).numpy() for image in some], axis=1)
    step = 0 if dtype == torch.uint8 else 1 / BINS
    for values, summary in zip(every, tally(some).summaries(), strict=True):
        assert summary.mean == pytest.approx(values.mean(), abs=1e-7)
        assert summary.std == pytest.approx(values.std(), abs=1e-7)
        assert (summary.low, summary.high) == pytest.approx((values.min(), values.max()), abs=1e-7)
        exact = np.percentile(values, [1, 99], method="inverted_cdf")
        assert (summary.p1, summary.p99) == pytest.approx(exact, abs=step + 1e-7)


def test_images_of_several_types_are_one_sample() -> None:
    some = [torch.full((2, 3, 4), 51, dtype=torch.uint8), torch.full((2, 6, 4), 0.8)]
    (summary, _) = tally(some).summaries()
    assert summary.mean == pytest.approx((0.2 + 2 * 0.8) / 3)
    assert (summary.low, summary.high) == pytest.approx((0.2, 0.8))
    assert (summary.p1, summary.p99) == pytest.approx((0.2, 0.8), abs=1 / BINS)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_images_that_are_counted_together_count_as_alone(dtype: torch.dtype) -> None:
    some = images(dtype, 3, 1) * 3
    together = PixelTally(3)
    together.add(some)
    for one, other in zip(together.summaries(), tally(some).summaries(), strict=True):
        assert one == pytest.approx(other)


def test_views_and_planes_count_by_channel_however_they_lie_in_memory() -> None:
    """Decoders leave channels side by side; others do not."""
    (image,) = images(torch.uint8, 3, 1)
    side_by_side = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert (
        tally([side_by_side]).summaries() == tally([image]).summaries() == tally([image.clone()]).summaries()
    )


def test_what_is_no_number_counts_as_0_and_what_is_outside_stays_in_the_bounds() -> None:
    (summary,) = tally([torch.tensor([[[torch.nan, 2.0], [-1.0, 0.5]]])]).summaries()
    assert (summary.low, summary.high) == (-1.0, 2.0)
    assert summary.mean == pytest.approx(1.5 / 4)


def test_sums_do_not_lose_small_deviations() -> None:
    """As float32 sums would."""
    image = torch.full((1, 1000, 1000), 0.9)
    image[0, ::2] += 1e-4
    (summary,) = tally([image]).summaries()
    assert summary.std == pytest.approx(5e-5, rel=1e-2)


def test_nothing_is_known_of_no_pixels() -> None:
    assert PixelTally(3).summaries() == []


def test_percentiles_of_counts() -> None:
    values, counts = np.array([0.5, 0.1, 0.9]), np.array([50.0, 49.0, 1.0])
    assert percentiles(values, counts, (0, 49, 50, 99, 100)) == [0.1, 0.1, 0.5, 0.5, 0.9]
