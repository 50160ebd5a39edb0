"""Intersection over union against scikit-learn and counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from sslkit_evaluators.segmentation.overlap import (
    iou,
    iou_interval,
    joined,
    mean_iou,
    overlap,
    pixel_accuracy,
)


def guesses(count=5, regions=4, seed=0, right=0.6):
    """Masks with untold pixels and predictions that are partly right."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, regions, (count, 6, 7), generator=generator)
    said = torch.randint(0, regions, truth.shape, generator=generator)
    said = torch.where(torch.rand(truth.shape, generator=generator) < right, truth, said)
    truth[torch.rand(truth.shape, generator=generator) < 0.2] = 255
    return said, truth.to(torch.uint8)


def test_counts_equal_scikit_learns():
    said, truth = guesses()
    found = overlap(said, truth, 4)
    told = truth != 255
    goal, guess = truth[told].numpy(), said[told].numpy()
    assert np.array_equal(found.confusion.numpy(), confusion_matrix(goal, guess, labels=range(4)))
    expected = jaccard_score(goal, guess, labels=range(4), average=None)
    np.testing.assert_allclose(iou(found.confusion).numpy(), expected)
    assert mean_iou(found.confusion) == pytest.approx(expected.mean())
    assert pixel_accuracy(found.confusion) == pytest.approx(accuracy_score(goal, guess))


def test_counts_of_images_add_up_to_those_of_all():
    said, truth = guesses()
    found = overlap(said, truth, 4)
    assert found.images.shape == (5, 3, 4)
    right, true, predicted = found.images.sum(0)
    assert torch.equal(right, found.confusion.diagonal())
    assert torch.equal(true, found.confusion.sum(1))
    assert torch.equal(predicted, found.confusion.sum(0))
    parts = joined([overlap(said[:2], truth[:2], 4), overlap(said[2:], truth[2:], 4)])
    assert torch.equal(parts.confusion, found.confusion)
    assert torch.equal(parts.images, found.images)


def test_what_is_predicted_where_nothing_is_told_does_not_matter():
    said, truth = guesses()
    other = torch.where(truth == 255, (said + 1) % 4, said)
    assert not torch.equal(said, other)
    first, second = overlap(said, truth, 4), overlap(other, truth, 4)
    assert torch.equal(first.confusion, second.confusion)
    assert torch.equal(first.images, second.images)


def test_a_region_that_is_nowhere_does_not_count():
    truth = torch.tensor([[[0, 0, 1, 1]]], dtype=torch.uint8)
    found = overlap(torch.tensor([[[0, 0, 1, 0]]]), truth, 3)
    assert iou(found.confusion)[:2].tolist() == [2 / 3, 1 / 2]
    assert bool(iou(found.confusion)[2].isnan())
    assert mean_iou(found.confusion) == pytest.approx((2 / 3 + 1 / 2) / 2)
    wrongly = overlap(torch.tensor([[[0, 0, 1, 2]]]), truth, 3)
    assert mean_iou(wrongly.confusion) == pytest.approx((1 + 1 / 2 + 0) / 3), "predicted, and never there"


def test_nothing_told_scores_nothing():
    empty = overlap(torch.zeros(2, 3, 3), torch.full((2, 3, 3), 255), 2)
    assert mean_iou(empty.confusion) == pixel_accuracy(empty.confusion) == 0
    assert int(empty.images.sum()) == 0


def test_the_interval_is_that_of_resampled_images():
    said, truth = guesses(40, right=0.5)
    found = overlap(said, truth, 4)
    low, high = iou_interval(found.images, 0)
    assert low < mean_iou(found.confusion) < high
    assert (low, high) == iou_interval(found.images, 0)
    assert (low, high) != iou_interval(found.images, 1)
    generator = torch.Generator().manual_seed(0)
    means = []
    for _ in range(400):
        rows = torch.randint(0, 40, (40,), generator=generator)
        means.append(mean_iou(overlap(said[rows], truth[rows], 4).confusion))
    expected = np.quantile(means, [0.025, 0.975])
    assert abs(low - expected[0]) < 0.15 * (high - low)
    assert abs(high - expected[1]) < 0.15 * (high - low)


def test_equal_images_have_no_width_and_one_image_no_interval():
    said, truth = guesses(1)
    one = overlap(said, truth, 4)
    assert iou_interval(one.images, 0) is None
    many = one.images.expand(5, -1, -1)
    assert iou_interval(many, 0) == pytest.approx((mean_iou(one.confusion),) * 2)


def test_intervals_shrink_with_images():
    widths = []
    for count in (10, 160):
        low, high = iou_interval(overlap(*guesses(count), 4).images, 0)
        widths.append(high - low)
    assert 2.5 < widths[0] / widths[1] < 6, "about the root of 16"
