"""Batches on their way to the CPU keep their order, and each comes after the next one was begun."""

from __future__ import annotations

import torch

from sslkit.core.view import View
from sslkit.evaluate.embeddings.embed_images import overlapped
from sslkit.evaluate.features import Loading, outputs
from tests import tiny
from tests.fakes_train import MadeSource, pictures

VIEW = View(8, 1, 1, (0.3,), (0.5,))


def test_a_batch_comes_once_the_next_one_is_under_way():
    begun = []

    def batches():
        for i in range(4):
            begun.append(i)
            yield torch.tensor([i]), None if i == 2 else torch.full((1, 3), float(i))

    seen = []
    for places, rows in overlapped(batches()):
        seen.append((places.item(), None if rows is None else rows.tolist(), len(begun)))
    assert seen == [
        (0, [[0.0] * 3], 2),
        (1, [[1.0] * 3], 3),
        (2, None, 4),
        (3, [[3.0] * 3], 4),
    ]  # fmt: skip


def test_nothing_is_asked_for_twice_of_no_batches():
    assert list(overlapped(iter(()))) == []


def test_a_batch_without_a_readable_image_is_there_all_the_same():
    """So that whoever counts batches counts all of them."""
    told = []
    source = MadeSource(pictures(10, side=8), None, frozenset({3, 4, 5, 6}))
    loading = Loading(VIEW, 1.0, 3, 0, tiny.CPU, lambda source, index, reason: told.append(index))
    every = torch.arange(10)
    batches = list(outputs(source, lambda images, _: images.flatten(1), loading, every, [0, 3, 6, 9]))
    assert [places.tolist() for places, _ in batches] == [[0, 1, 2], [], [7, 8], [9]]
    assert [None if rows is None else tuple(rows.shape) for _, rows in batches] == [
        (3, 64),
        None,
        (2, 64),
        (1, 64),
    ]
    assert told == [3, 4, 5, 6]
