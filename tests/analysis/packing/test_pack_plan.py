"""What goes into which shard."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslkit.analysis.packing.pack_plan import LOOKED_AT, Plan, bytes_of, images_for, sample_of
from sslkit.errors import SpecError
from tests.fakes_train import MadeSource, pictures

PLAN = Plan({"train": "a", "test": "b"}, {"train": 10, "test": 3}, True, 7, 4)


def test_every_image_is_in_one_shard():
    shards = PLAN.shards()
    assert [(s.name, s.split, s.first, len(s.indices)) for s in shards] == [
        ("train-000000.tar", "train", 0, 4),
        ("train-000001.tar", "train", 4, 4),
        ("train-000002.tar", "train", 8, 2),
        ("test-000000.tar", "test", 0, 3),
    ]
    train = [i for s in shards if s.split == "train" for i in s.indices]
    assert sorted(train) == list(range(10))
    assert train != sorted(train)


def test_the_order_is_a_function_of_the_seed():
    assert PLAN.shards() == PLAN.shards()
    assert PLAN._replace(seed=8).shards() != PLAN.shards()
    kept = PLAN._replace(shuffled=False)
    assert [i for s in kept.shards() for i in s.indices] == [*range(10), *range(3)]
    assert kept._replace(seed=8).as_json() == kept.as_json(), "no seed where nothing is drawn"


@given(count=st.integers(1, 50), each=st.integers(1, 60))
def test_shards_are_full_but_for_the_last(count, each):
    shards = Plan({}, {"train": count}, True, 0, each).shards()
    sizes = [len(shard.indices) for shard in shards]
    assert sum(sizes) == count
    assert sizes[:-1] == [each] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= each


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("256MB", 256_000_000), ("1.5GiB", 1_610_612_736), ("3 kb", 3000), ("2gb", 2_000_000_000)],
)
def test_sizes_are_read(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "0.1", "MB", "-5MB", "5 parsecs", "1e3"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(SpecError, match=re.escape(f"expected a size such as 256MB or 1GiB, found {text!r}")):
        bytes_of(text)


def test_images_of_a_shard_follow_from_the_mean_size():
    assert images_for(1_000_000, [97_440] * 3) == 10
    assert images_for(1, [97_440]) == 1
    assert images_for(10**6, []) > 1


def test_the_same_images_are_looked_at_each_time():
    source = MadeSource(pictures(5, 1))
    assert sample_of(source) == sample_of(source) == list(range(5))
    assert LOOKED_AT > 5
