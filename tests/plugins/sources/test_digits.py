import pytest
import torch
from sklearn.datasets import load_digits

from sslkit import Digits
from sslkit.errors import SpecError


def test_facts():
    train, test = Digits().build("train"), Digits().build("test")
    assert len(train) + len(test) == 1797
    assert train.classes == tuple("0123456789")
    assert train.channels == 1
    assert train.sizes == {(8, 8)}
    assert train.resident().shape == (len(train), 1, 8, 8)
    assert train.resident().dtype == torch.uint8
    assert train.labels.dtype == torch.int64
    assert train.name(3) == "digits train image 3"


def test_pixels_are_scikit_learns_spread_over_the_bytes():
    source = Digits().build("train")
    assert set(source.resident().unique().tolist()) == {round(level * 255 / 16) for level in range(17)}
    levels = (source.resident().float() * 16 / 255).round().flatten(1)
    original = torch.from_numpy(load_digits().data).float()
    distance = torch.cdist(levels, original)
    nearest = distance.argmin(1)
    assert distance.min(1).values.max() < 1e-3
    assert torch.equal(source.labels, torch.from_numpy(load_digits().target)[nearest])


def test_the_split_is_disjoint_complete_and_stratified():
    train, test = Digits().build("train"), Digits().build("test")
    both = torch.cat([train.resident(), test.resident()]).flatten(1)
    original = torch.from_numpy(load_digits().data * 255 / 16).round().to(torch.uint8)
    assert sorted(both.tolist()) == sorted(original.tolist())
    share = test.labels.bincount(minlength=10) / torch.cat([train.labels, test.labels]).bincount(minlength=10)
    assert ((share - 0.2).abs() < 0.01).all()


def test_the_split_is_fixed_by_its_seed():
    first, again, other = Digits(), Digits(), Digits(split_seed=1)
    assert first.build("test").fingerprint == again.build("test").fingerprint
    assert first.build("test").fingerprint != other.build("test").fingerprint
    assert first.build("test").fingerprint != first.build("train").fingerprint


@pytest.mark.parametrize("share", [0.01, 0.9])
def test_every_class_is_in_both_splits(share):
    for split in ("train", "test"):
        assert Digits(test_share=share).build(split).labels.unique().tolist() == list(range(10))


def test_load_equals_resident():
    source = Digits(test_share=0.05).build("test")
    assert len(source) == 90
    assert torch.equal(torch.stack([source.load(i) for i in range(90)]), source.resident())


@pytest.mark.parametrize("share", [0.0, 0.95, -1])
def test_a_split_that_leaves_nothing_is_refused(share):
    with pytest.raises(SpecError, match="test_share"):
        Digits(test_share=share)
