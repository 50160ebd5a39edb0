"""Which image comes when."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.core.source import Blocks
from sslkit.data.sampler import BatchShare, InOrder, Order
from sslkit.errors import DataError, SpecError
from sslkit.runtime import seeds

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


SIZES = (5, 0, 1, 9, 3, 7, 2, 9)
"""Images of blocks, 36 in all."""


def blocks_of(indices):
    """The block of each image."""
    ends = torch.tensor(SIZES).cumsum(0)
    return torch.searchsorted(ends, indices, right=True)


def epoch_of(order, epoch):
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    return torch.cat([batch(order, step)[0] for step in steps])


@pytest.mark.parametrize("window", [1, 2, 3, 8, 100])
def test_blocks_show_every_image_once_and_few_blocks_at_a_time(window):
    order = Order(36, 6, 5, BatchShare(0, 1, 6), Blocks(SIZES, window))
    for epoch in range(3):
        seen = epoch_of(order, epoch)
        assert torch.equal(seen.sort().values, torch.arange(36))
        owners = blocks_of(seen).tolist()
        first = {block: owners.index(block) for block in set(owners)}
        last = {block: 35 - owners[::-1].index(block) for block in set(owners)}
        for place in range(36):
            open_ = [block for block in first if first[block] <= place <= last[block]]
            assert len(open_) <= window


def test_epochs_of_blocks_differ_and_follow_from_the_seed():
    def drawn(seed, epoch, window=2):
        return epoch_of(Order(36, 6, seed, BatchShare(0, 1, 6), Blocks(SIZES, window)), epoch).tolist()

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(1, 1)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 0, window=3)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_batches_of_blocks(world):
    whole = Order(36, 6, 5, BatchShare(0, 1, 6), Blocks(SIZES, 2))
    ranks = [Order(36, 6, 5, BatchShare(rank, world, 1), Blocks(SIZES, 2)) for rank in range(world)]
    for step in (0, 5, 6, 17):
        joined = torch.cat([batch(rank, step)[0] for rank in ranks])
        assert torch.equal(joined, batch(whole, step)[0])


def test_images_of_a_window_are_mixed():
    seen = epoch_of(Order(36, 6, 5, BatchShare(0, 1, 6), Blocks(SIZES, 100)), 0)
    assert not torch.equal(seen, seen.sort().values)
    changes = (blocks_of(seen)[1:] != blocks_of(seen)[:-1]).sum()
    assert int(changes) > 15, "not block by block"


def test_without_blocks_the_order_is_what_it_was():
    """Runs that began before there were blocks go on."""
    assert (
        epoch_of(Order(12, 4, 3, BatchShare(0, 1, 4)), 0).tolist()
        == torch.randperm(12, generator=seeds.generator(3, "order", 0)).tolist()
    )
    assert epoch_of(Order(12, 4, 3, BatchShare(0, 1, 4)), 1).tolist() == [
        0,
        7,
        3,
        5,
        10,
        11,
        2,
        4,
        1,
        6,
        9,
        8,
    ]


@pytest.mark.parametrize("blocks", [Blocks((5, 6), 1), Blocks((5, 7), 0), Blocks((), 1)])
def test_blocks_of_other_images_are_refused(blocks):
    with pytest.raises(DataError, match=r"has 12 images, and blocks of \d+, .*expected blocks of all images"):
        Order(12, 4, 0, WHOLE._replace(micro=4), blocks)


@given(images=st.integers(1, 60), size=st.integers(1, 16))
def test_in_order_every_image_comes_once_and_the_last_batch_is_filled_with_the_first(images, size):
    starts = list(range(0, images, size))
    order = InOrder(images, starts, size)
    indices = torch.cat([batch(order, step)[0] for step in range(len(starts))])
    assert len(indices) == len(starts) * size
    assert indices.tolist() == [i % images for i in range(len(indices))]
    assert batch(InOrder(images, starts[-1:], size), 0)[1].tolist() == list(range(size))
