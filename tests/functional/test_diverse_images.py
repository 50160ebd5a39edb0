"""The images that figures show are of several classes, whatever the order of the source."""

from __future__ import annotations

import pytest
import torch

from sslkit.functional.diverse_images import varied


@pytest.mark.parametrize("order", ["one after another", "by turns"])
@pytest.mark.parametrize(("classes", "most"), [(10, 6), (3, 6), (100, 8), (6, 6)])
def test_as_many_classes_as_there_is_room_for(order, classes, most):
    each = torch.arange(classes)
    labels = each.repeat_interleave(12) if order == "one after another" else each.repeat(12)
    shown = varied(labels, len(labels), most)
    assert len(set(shown.tolist())) == most
    assert len(set(labels[shown].tolist())) == min(classes, most)


def test_sorted_images_and_those_without_labels_are_evenly_spread():
    assert varied(None, 12, 4).tolist() == [0, 3, 6, 9]
    assert varied(torch.arange(12) // 3, 12, 4).tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize(("count", "most", "expected"), [(3, 8, [0, 1, 2]), (3, 0, []), (1, 1, [0])])
def test_there_may_be_fewer_images_than_asked_for(count, most, expected):
    assert varied(None, count, most).tolist() == expected
