"""Streams are functions of the seed and their names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.runtime import seeds

NAMES = st.lists(st.one_of(st.integers(), st.text()), max_size=4).map(tuple)


def test_keys_are_stable_over_versions():
    """A changed key would silently break every resume across versions."""
    assert seeds.key(0) == 7210762507766007076
    assert seeds.key(3, 17, "mask", "global") == 5672704757680663383


@given(st.integers(0, 2**63 - 1), NAMES, st.integers(0, 2**63 - 1), NAMES)
def test_keys_differ_wherever_seed_or_names_do(seed, names, other_seed, other_names):
    key = seeds.key(seed, *names)
    assert 0 <= key < 2**63
    assert (key == seeds.key(other_seed, *other_names)) == ((seed, *names) == (other_seed, *other_names))


@pytest.mark.parametrize(
    ("a", "b"), [(("ab", "c"), ("a", "bc")), ((1, 23), (12, 3)), (("1",), (1,)), ((), ("",))]
)
def test_names_do_not_run_into_each_other(a, b):
    assert seeds.key(0, *a) != seeds.key(0, *b)


def test_a_generator_repeats_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    one, two = (torch.rand(5, generator=seeds.generator(1, "order", 0)) for _ in range(2))
    other = torch.rand(5, generator=seeds.generator(1, "order", 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_seeding_torch_decides_what_dropout_draws():
    drawn = []
    for step in (4, 4, 5):
        seeds.seed_torch(7, step, "torch", 0)
        drawn.append(torch.nn.functional.dropout(torch.ones(64), 0.5))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_draws_are_streams_of_rows():
    rows = torch.tensor([3, 8])
    both = seeds.draw(1, "augment", rows=rows).uniform(4)
    assert torch.equal(seeds.draw(1, "augment", rows=rows[1:]).uniform(4), both[1:])
    assert not torch.equal(seeds.draw(2, "augment", rows=rows).uniform(4), both)
