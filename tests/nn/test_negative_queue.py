"""The queue of keys."""

from __future__ import annotations

import torch

from sslkit.nn.negative_queue import Queue


def test_it_starts_as_random_rows_of_length_one():
    """MoCo `moco/builder.py`: standard normal, normalized."""
    queue = Queue(1000, 4)
    torch.testing.assert_close(queue().norm(dim=1), torch.ones(1000))
    assert queue().mean(0).abs().max() < 0.1
    assert set(queue.state_dict()) == {"rows", "place"}


def test_new_rows_take_the_places_of_the_oldest():
    queue = Queue(5, 1)
    for first in (1, 3, 5, 7):
        queue.commit(torch.tensor([[first], [first + 1]], dtype=torch.float32))
    assert queue().flatten().tolist() == [6, 7, 8, 4, 5]
    assert queue.place == 3


def test_as_mocos_it_is_filled_from_the_pointer(golden):
    """MoCo `_dequeue_and_enqueue`, whose queue lies in columns."""
    arrays = golden("moco_infonce")
    queue = Queue(12, 6).double()
    queue.rows.copy_(arrays["sd.queue"].T)
    queue.place.fill_(arrays["sd.queue_ptr"].item())
    queue.commit(arrays["k"])
    assert torch.equal(queue.rows, arrays["queue_after"].T)
    assert queue.place == arrays["queue_ptr_after"].item()


def test_as_many_rows_as_places_replace_all():
    queue, rows = Queue(4, 2), torch.randn(4, 2)
    queue.place.fill_(3)
    queue.commit(rows.bfloat16().requires_grad_())
    assert queue.rows.dtype == torch.float32
    assert queue.place == 3
    torch.testing.assert_close(queue.rows.roll(1, 0), rows, atol=0.02, rtol=0.02)
