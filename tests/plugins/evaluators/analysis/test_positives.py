"""Pairs that alignment compares."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit import FeatureGeometry
from sslkit.core.random_stream import Draw
from sslkit.errors import DataError
from sslkit_evaluators.analysis.positives import aligned_classes, aligned_views, class_pairs, random_view
from sslkit_evaluators.analysis.sample import Measured
from tests.plugins.evaluators.analysis.subjects import Made, noise


def rows(count, view=0):
    return Draw(11, 2 * torch.arange(count) + view)


def measured(values, labels):
    return Measured(
        values, F.normalize(values, dim=1), labels, 0 if labels is None else int(labels.max()) + 1
    )


def test_views_are_the_images_where_nothing_is_cut_away_but_some_are_mirrored():
    """An area of 1 in an aspect other than 1 does not fit and is cut to the image's side."""
    images = noise(200)
    views = random_view(images, rows(200), (1.0, 1.0))
    assert views.shape == images.shape
    whole = [
        torch.allclose(view, image, atol=1e-5) or torch.allclose(view, image.flip(-1), atol=1e-5)
        for view, image in zip(views, images, strict=True)
    ]
    assert 0 < sum(whole) < 200


def test_half_of_the_views_are_mirrored():
    ramp = torch.linspace(-1, 1, 16).expand(1000, 1, 16, 16)
    views = random_view(ramp, rows(1000), (0.5, 1.0))
    falling = views[:, 0, 0, 0] > views[:, 0, 0, -1]
    assert 0.45 < falling.float().mean() < 0.55


def test_areas_and_aspects_are_those_that_were_asked_for():
    """Ramps in both directions tell which part of them a view shows."""
    side, count = 64, 2000
    across = torch.linspace(0, 1, side).expand(count, 1, side, side)
    down = across.mT
    views = random_view(torch.cat([across, down], dim=1), rows(count), (0.2, 0.8))
    widths = (views[:, 0, :, -1] - views[:, 0, :, 0]).mean(-1).abs() * (1 + 1 / side)
    heights = (views[:, 1, -1] - views[:, 1, 0]).mean(-1).abs() * (1 + 1 / side)
    area, aspect = widths * heights, widths / heights
    assert area.min() > 0.17, "sides are whole pixels"
    assert area.max() < 0.84
    assert area.mean() == pytest.approx(0.5, abs=0.03)
    assert 0.7 < aspect.min() < 0.8
    assert 1.25 < aspect.max() < 1.42
    assert aspect.log().mean().abs() < 0.02


def test_views_stay_in_the_range_of_the_image_and_tiny_ones_can_be_cut():
    images = noise(50, side=2)
    views = random_view(images, rows(50), (0.01, 0.3))
    assert views.shape == images.shape
    assert (views.amax((2, 3)) <= images.amax((2, 3)) + 1e-5).all()
    assert (views.amin((2, 3)) >= images.amin((2, 3)) - 1e-5).all()


def test_a_view_depends_on_seed_image_and_number_and_not_on_its_batch():
    images = noise(6)
    whole = random_view(images, rows(6), (0.2, 1.0))
    single = random_view(images[3:4], Draw(11, torch.tensor([6])), (0.2, 1.0))
    torch.testing.assert_close(single, whole[3:4])
    assert not torch.allclose(random_view(images, rows(6, view=1), (0.2, 1.0)), whole, atol=1e-2)
    assert not torch.allclose(
        random_view(images, Draw(12, 2 * torch.arange(6)), (0.2, 1.0)), whole, atol=1e-2
    )


def test_an_encoder_that_sees_no_view_is_perfectly_aligned():
    """One that reads the mean color of flat images."""
    flat = noise(9, side=1).expand(-1, -1, 8, 8)
    subject = Made(flat, lambda images: images.mean((2, 3)))
    assert aligned_views(subject, "test", torch.arange(9), (0.2, 1.0)) == pytest.approx(0, abs=1e-9)


def test_alignment_of_views_is_the_mean_over_the_chosen_images():
    subject = Made(noise(12))
    only = torch.tensor([1, 4, 7, 10])
    found = aligned_views(subject, "test", only, (0.2, 1.0))
    views = [random_view(subject.images[only], Draw(subject.seed, 2 * only + v), (0.2, 1.0)) for v in (0, 1)]
    one, two = (F.normalize(view.flatten(1), dim=1) for view in views)
    assert found == pytest.approx((one - two).square().sum(1).mean().item(), rel=1e-6)
    assert subject.read == [[1, 4, 7, 10]]


def test_wider_crops_are_better_aligned():
    smooth = F.interpolate(noise(60, side=3), size=16, mode="bicubic")
    subject = Made(smooth, lambda images: F.avg_pool2d(images, 4).flatten(1))
    only = torch.arange(60)
    narrow, wide = (aligned_views(subject, "test", only, scale) for scale in ((0.2, 0.3), (0.9, 1.0)))
    assert 0 < wide < narrow


def test_class_pairs_are_other_images_of_the_class():
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 3, 1, 0])
    one, two = class_pairs(labels, seed=4)
    assert sorted(one.tolist()) == [0, 1, 2, 4, 5, 7, 8], "classes 2 and 3 have one image"
    assert sorted(two.tolist()) == sorted(one.tolist())
    assert (one != two).all()
    assert torch.equal(labels[one], labels[two])
    other = class_pairs(labels, seed=5)
    assert not all(torch.equal(a, b) for a, b in zip((one, two), other, strict=True))


def test_alignment_of_classes():
    labels = torch.arange(12) % 3
    centers = torch.eye(3)[labels]
    assert aligned_classes(measured(centers, labels), 0) == pytest.approx(0, abs=1e-12)
    opposite = torch.tensor([[1.0, 0], [-1.0, 0]])
    assert aligned_classes(measured(opposite, torch.tensor([0, 0])), 0) == pytest.approx(4)


def test_classes_need_labels_and_pairs():
    values = torch.randn(4, 3)
    with pytest.raises(DataError, match="`positives: classes` needs labels"):
        aligned_classes(measured(values, None), 0)
    with pytest.raises(DataError, match="needs a class with two images"):
        aligned_classes(measured(values, torch.arange(4)), 0)


@pytest.mark.parametrize("positives", ["views", "classes", "none"])
def test_the_spec_chooses_the_pairs(positives):
    subject = Made(noise(30), labels=torch.arange(30) % 3)
    spec = FeatureGeometry(positives=positives, neighbours=5, restarts=1)
    metrics = spec.build()(subject).metrics
    assert ("alignment" in metrics) == (positives != "none")
    assert (subject.read != []) == (positives == "views")
