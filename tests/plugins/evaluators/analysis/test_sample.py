"""Which images are measured."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.errors import DataError
from sslkit_evaluators.analysis.sample import choose, measure
from tests.plugins.evaluators.analysis.subjects import Made, holding, noise


@given(count=st.integers(0, 60), most=st.integers(1, 60), seed=st.integers(0, 2**63 - 1))
def test_a_choice_is_in_order_without_repeats(count, most, seed):
    found = choose(count, most, seed)
    assert found.dtype == torch.int64
    assert len(found) == min(count, most)
    assert found.tolist() == sorted(set(found.tolist()))
    assert all(0 <= i < count for i in found.tolist())
    assert torch.equal(found, choose(count, most, seed))


def test_every_image_is_chosen_alike_often():
    hits = sum(torch.bincount(choose(10, 4, seed), minlength=10) for seed in range(2000))
    assert (hits.double() / 2000 - 0.4).abs().max() < 0.05


def test_choosing_leaves_torchs_generator_alone():
    state = torch.get_rng_state()
    choose(100, 10, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_features_with_and_without_labels_are_the_same():
    images = noise(30)
    with_labels = measure(Made(images, labels=torch.arange(30) % 3), "test", 12)
    without = measure(Made(images), "test", 12)
    assert torch.equal(with_labels.values, without.values)
    assert without.labels is None
    assert (with_labels.classes, without.classes) == (3, 0)
    only = choose(30, 12, 5)
    assert torch.equal(with_labels.labels, only % 3)
    assert torch.equal(with_labels.values, images.flatten(1)[only])


def test_directions_have_length_one():
    found = measure(holding(torch.randn(6, 3) * 10), "test", 100)
    torch.testing.assert_close(found.unit.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(found.unit * found.values.norm(dim=1, keepdim=True), found.values)


@pytest.mark.parametrize("count", [1, 3])
def test_few_images_are_an_error(count):
    with pytest.raises(DataError, match=rf"the train split has {count} readable images; .* at least 4"):
        measure(Made(noise(count)), "train", 100)
