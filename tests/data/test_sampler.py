"""Which image comes when."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.data.sampler import BatchShare, Order
from sslkit.errors import SpecError

WHOLE = BatchShare(0, 1, 8)


def batch(order, step):
    """(indices, rows) of one rank's step."""
    parts = list(order.micro_batches(step))
    return torch.cat([indices for indices, _ in parts]), torch.cat([rows for _, rows in parts])


@given(images=st.integers(8, 60), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10**6))
def test_an_epoch_shows_every_image_at_most_once(images, seed, epoch):
    order = Order(images, 8, seed, WHOLE)
    assert order.steps_per_epoch == images // 8
    first = epoch * order.steps_per_epoch
    seen = torch.cat([batch(order, first + i)[0] for i in range(order.steps_per_epoch)])
    assert len(seen.unique()) == len(seen) == images // 8 * 8
    assert int(seen.min()) >= 0
    assert int(seen.max()) < images


def test_an_epoch_of_whole_batches_is_a_permutation_and_no_two_are_alike():
    order = Order(32, 8, 0, WHOLE)
    epochs = [torch.cat([batch(order, 4 * epoch + i)[0] for i in range(4)]) for epoch in range(5)]
    assert all(torch.equal(epoch.sort().values, torch.arange(32)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 5
    assert not torch.equal(batch(Order(32, 8, 1, WHOLE), 0)[0], epochs[0][:8])


def test_images_that_miss_one_epoch_come_in_another():
    order = Order(10, 8, 0, WHOLE)
    assert len(torch.cat([batch(order, epoch)[0] for epoch in range(20)]).unique()) == 10


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("step", [0, 3, 9])
def test_ranks_and_micro_batches_join_to_the_batch_of_one_process(world, micro, step):
    indices, rows = batch(Order(40, 8, 5, WHOLE), step)
    assert torch.equal(rows, torch.arange(8))
    parts = [
        list(Order(40, 8, 5, BatchShare(rank, world, micro)).micro_batches(step)) for rank in range(world)
    ]
    assert all(len(part) == 8 // world // micro for part in parts)
    joined = [torch.cat([pair[i] for part in parts for pair in part]) for i in (0, 1)]
    assert torch.equal(joined[0], indices)
    assert torch.equal(joined[1], rows)


def test_steps_can_be_asked_for_in_any_order():
    steps = [7, 0, 3, 3, 21]
    one = Order(20, 8, 2, WHOLE)
    asked = [batch(one, step)[0] for step in steps]
    assert all(torch.equal(x, batch(Order(20, 8, 2, WHOLE), s)[0]) for x, s in zip(asked, steps, strict=True))


@pytest.mark.parametrize(
    ("images", "size", "share", "message"),
    [
        (7, 8, WHOLE, "batch_size: 8 is more than the 7 training images; use at most 7"),
        (99, 8, BatchShare(0, 3, 1), "batch_size: 8 is not a multiple of 3 ranks x 1 (micro_batch_size)"),
        (99, 8, BatchShare(1, 2, 3), "batch_size: 8 is not a multiple of 2 ranks x 3 (micro_batch_size)"),
    ],
)
def test_batches_that_cannot_be_made_are_refused(images, size, share, message):
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        Order(images, size, 0, share)
