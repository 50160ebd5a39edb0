"""Batches with their labels, from memory and from workers."""

from __future__ import annotations

import contextlib

import pytest
import torch

from sslkit import Finetune
from sslkit.errors import DataError
from sslkit.specs.views import IMAGENET_MEAN, IMAGENET_STD, ViewSpec
from sslkit_evaluators.finetuning.labeled_images import Chosen, Images
from tests.plugins.evaluators.networks import Planted, network

CPU = torch.device("cpu")
PLAIN = ViewSpec(size=1)
MEAN, STD = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))


def apart(one, two):
    """Distances of images `[A, B]`, without the rounding of matrix products."""
    return torch.cdist(one.flatten(1), two.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def drawn(data, batch=16, accumulate=1, steps=8, crops=PLAIN):
    images = Images(network(Finetune.example(), data=data), crops, batch, accumulate, CPU)
    feed = images.feed(steps)
    with contextlib.closing(feed):
        return images, [list(images.step(step, feed)) for step in range(steps)]


def test_labels_belong_to_their_images():
    """Without augmentation, images are the source's own, and an epoch shows each once."""
    images, steps = drawn(Planted())
    subject = network(Finetune.example(), data=Planted())
    plain = subject.rows("train", lambda x, _: x)
    for batch, labels in (part for step in steps for part in step):
        distance = apart(batch, plain.values)
        assert bool((distance.min(1).values < 1e-3).all())
        assert torch.equal(plain.labels[distance.argmin(1)], labels)
    assert images.order.steps_per_epoch == 4
    first = torch.cat([batch for step in steps[:4] for batch, _ in step])
    assert len(first.flatten(1).unique(dim=0)) == 64


def test_images_that_cannot_be_read_are_left_out():
    damaged = frozenset({0, 5, 63})
    images, steps = drawn(Planted(damaged=damaged), batch=8)
    assert len(images.source) == 61
    assert not set(images.source.indices.tolist()) & damaged
    whole = Planted().build("train")
    for batch, labels in (part for step in steps for part in step):
        pixels = (batch * STD + MEAN) * 255
        distance = apart(pixels, whole.images.float())
        assert torch.equal(whole.labels[distance.argmin(1)], labels)


def test_both_feeds_give_the_same_batches(monkeypatch):
    from sslkit import HorizontalFlip, RandomResizedCrop

    crops = ViewSpec(size=1, augment=(RandomResizedCrop(), HorizontalFlip()))
    _, held = drawn(Planted(), crops=crops, steps=5)
    monkeypatch.setattr("sslkit_evaluators.finetuning.labeled_images.resident", lambda *_: None)
    _, worked = drawn(Planted(), crops=crops, steps=5)
    for one, two in zip(held, worked, strict=True):
        torch.testing.assert_close(one[0][0], two[0][0])
        assert torch.equal(one[0][1], two[0][1])


def test_batches_are_even_and_cut_to_what_there_is():
    images, steps = drawn(Planted(train=21), batch=256, accumulate=2, steps=1)
    assert images.order.batch == 20
    assert [len(labels) for _, labels in steps[0]] == [10, 10]
    with pytest.raises(DataError, match="at least 8 readable images, found 6"):
        drawn(Planted(train=6), accumulate=4)


def test_chosen_images_are_those_of_the_source():
    source = Planted().build("train")
    some = Chosen(source, torch.tensor([5, 9]))
    assert len(some) == 2
    assert torch.equal(some.load(1), source.load(9))
    assert torch.equal(some.resident(), source.images[[5, 9]])
    assert some.labels.tolist() == [1, 1]
    assert some.name(0) == "5"
    assert Chosen(source, torch.arange(64)).resident() is source.images
    assert Chosen(Planted(damaged=frozenset({1})).build("train"), torch.tensor([3])).resident() is None
