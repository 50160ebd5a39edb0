"""Draw: a pure function of (key, row), uniform, independent, and pinned for good."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from sslkit.core.random_stream import Draw

KEYS = st.integers(-(2**70), 2**70)
P = 1e-4  # seeds are fixed, so a test that passes passes always; a broken generator misses this by far


def draw(key: int = 7, rows: int | Tensor = 1000) -> Draw:
    return Draw(key, torch.arange(rows) if isinstance(rows, int) else rows)


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten().double(), b.flatten().double()]))[0, 1])


@pytest.mark.parametrize("key", [0, 1, -1, 2**63, 12345678901234567890])
@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_uniform_numbers_are_uniform(key: int, axis: str) -> None:
    rows, columns = (20_000, 1) if axis == "rows" else (1, 20_000)
    numbers = draw(key, rows).uniform(columns).flatten().double().numpy()
    assert stats.kstest(numbers, "uniform").pvalue > P
    assert stats.chisquare(torch.histc(torch.from_numpy(numbers), 64, 0, 1).numpy()).pvalue > P
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1


def test_pairs_of_neighbors_fill_the_square() -> None:
    numbers = draw(3, 20_000).uniform(2)
    cells = (numbers * 16).long()
    counts = torch.bincount(cells[:, 0] * 16 + cells[:, 1], minlength=256)
    assert stats.chisquare(counts.numpy()).pvalue > P
    along = draw(3, 40_000).uniform(1).reshape(-1, 2)
    cells = (along * 16).long()
    assert stats.chisquare(torch.bincount(cells[:, 0] * 16 + cells[:, 1], minlength=256).numpy()).pvalue > P


def test_rows_columns_calls_and_keys_are_independent() -> None:
    source = draw(5, 200)
    first, second = source.uniform(200), source.uniform(200)
    others = [
        second,
        draw(6, 200).uniform(200),
        first.roll(1, 0),
        first.roll(1, 1),
        first.T,
        draw(5, 400).uniform(200)[200:],
    ]
    assert all(abs(correlation(first, other)) < 4 / 200 for other in others)
    assert len(first.unique()) > 39_900


def test_every_bit_of_the_key_matters() -> None:
    base = draw(0, 64).uniform(64)
    for bit in range(64):
        assert abs(correlation(base, draw(1 << bit, 64).uniform(64))) < 5 / 64


@given(KEYS, st.permutations(range(12)), st.integers(1, 11))
def test_a_row_s_numbers_do_not_depend_on_its_company(key: int, order: list[int], cut: int) -> None:
    whole = Draw(key, torch.arange(12))
    expected = [whole.uniform(3), whole.normal(2), whole.permutation(5)]
    index = torch.tensor(order)
    for part in (index[:cut], index[cut:]):
        alone = Draw(key, part)
        for numbers, again in zip(
            expected, [alone.uniform(3), alone.normal(2), alone.permutation(5)], strict=True
        ):
            assert torch.equal(again, numbers[part])


@given(KEYS)
def test_the_shape_of_the_rows_is_only_a_shape(key: int) -> None:
    rows = torch.arange(24)
    flat, shaped = Draw(key, rows), Draw(key, rows.reshape(2, 3, 4))
    assert shaped.shape == (2, 3, 4)
    assert torch.equal(shaped.uniform(5, 2), flat.uniform(5, 2).reshape(2, 3, 4, 5, 2))
    assert torch.equal(shaped.chance(0.3), flat.chance(0.3).reshape(2, 3, 4))
    assert torch.equal(shaped.permutation(6), flat.permutation(6).reshape(2, 3, 4, 6))


@given(KEYS)
def test_equal_keys_give_equal_numbers_and_64_bits_of_the_key_count(key: int) -> None:
    assert torch.equal(draw(key, 9).uniform(4), draw(key, 9).uniform(4))
    assert torch.equal(draw(key, 9).uniform(4), draw(key + 2**64, 9).uniform(4))
    assert not torch.equal(draw(key, 9).uniform(4), draw(key + 1, 9).uniform(4))


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    source = draw()
    source.uniform(), source.normal(), source.chance(0.5), source.integers(9), source.permutation(4)
    assert torch.equal(before, torch.random.get_rng_state())


UNIFORM = [
    [7484568, 9663064, 10741249],
    [923868, 10239262, 3741631],
    [9682831, 5573200, 11723753],
    [13835052, 13480354, 13960722],
]
PERMUTATION = [[3, 2, 0, 5, 1, 4], [0, 4, 1, 2, 3, 5], [1, 3, 0, 2, 4, 5], [0, 3, 4, 5, 2, 1]]
INTEGERS = [[490, 27], [52, 879], [211, 52], [653, 10]]


def test_known_values() -> None:
    """Masks and crops of old runs must stay what they were; a change here breaks every resume."""
    source = Draw(42, torch.tensor([0, 1, 2**40, -1]))
    assert (source.uniform(3).double() * 2**24).long().tolist() == UNIFORM
    assert source.permutation(6).tolist() == PERMUTATION
    assert source.integers(1000, 2).tolist() == INTEGERS


def test_no_two_rows_calls_or_keys_share_a_number() -> None:
    """Rows, calls and keys that lie side by side, as those of a batch do: a lattice would repeat itself shifted."""
    numbers = []
    for key in range(20, 24):
        source = Draw(key, torch.arange(-8, 56))
        numbers += [source._bits(4).flatten() for _ in range(16)]
    every = torch.cat(numbers)
    assert len(every.unique()) == len(every) == 4 * 64 * 16 * 4


def test_calls_of_neighboring_rows_are_independent() -> None:
    """The correlation of call c + 1 of row r with call c of row r + 1, and its kin, is that of noise."""
    source = Draw(5, torch.arange(4000))
    calls = torch.stack([source.uniform(3) for _ in range(6)]).double() - 0.5
    for shift in (-2, -1, 1, 2):
        one, other = calls[1:, 2:-2], calls[:-1].roll(-shift, 1)[:, 2:-2]
        assert abs(float((one * other).mean()) * 12) < 0.02


def test_rows_without_a_dimension_draw_too() -> None:
    source = Draw(1, torch.tensor(7))
    assert source.uniform().shape == ()
    assert source.permutation(5).sort().values.tolist() == list(range(5))


def test_the_first_number_is_splitmix64_s_in_plain_integers() -> None:
    """The same arithmetic, written once more without torch."""
    mask = (1 << 64) - 1

    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    def number(key: int, row: int, call: int, column: int) -> float:
        start = mix((key + call * 0x9E3779B97F4A7C15) & mask)
        stream = mix((row * 0x9E3779B97F4A7C15 + start) & mask)
        return (mix((stream + column * 0xD1B54A32D192ED03) & mask) >> 40) / 2**24

    source = Draw(-3, torch.tensor([0, 5, 2**62]))
    for call in (1, 2):
        expected = [[number(-3, row, call, column) for column in (1, 2, 3)] for row in (0, 5, 2**62)]
        assert source.uniform(3).tolist() == expected


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, 3.0), (0.2, 0.2), (5.0, -5.0)])
def test_uniform_bounds(low: float, high: float) -> None:
    numbers = draw(rows=5000).uniform(low=low, high=high)
    assert numbers.dtype == torch.float32
    bounds = torch.tensor([low, high])  # in float32, as the numbers are
    assert bounds.min() <= numbers.min() <= numbers.max() <= bounds.max()
    assert float(numbers.mean()) == pytest.approx((low + high) / 2, abs=0.1)


def test_normal_moments() -> None:
    numbers = draw(11, 50_000).normal(2).double()
    assert torch.isfinite(numbers).all()
    assert abs(float(numbers.mean())) < 0.01
    assert abs(float(numbers.var()) - 1) < 0.02
    assert abs(float((numbers**3).mean())) < 0.04
    assert abs(float((numbers**4).mean()) - 3) < 0.1
    assert stats.kstest(numbers[:20_000, 0].numpy(), "norm").pvalue > P
    assert abs(correlation(numbers[:, 0], numbers[:, 1])) < 0.02


def test_normal_numbers_have_tails() -> None:
    largest = float(draw(1, 100_000).normal().abs().max())
    assert 4 < largest < math.sqrt(2 * 24 * math.log(2)) + 0.1, "24 bits reach 5.77"


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_chance(probability: float) -> None:
    hits = draw(rows=20_000).chance(probability)
    assert hits.dtype == torch.bool
    assert float(hits.double().mean()) == pytest.approx(probability, abs=0.015)


@pytest.mark.parametrize("high", [1, 2, 7, 1000])
def test_integers_cover_their_range_evenly(high: int) -> None:
    numbers = draw(rows=30_000).integers(high)
    assert numbers.dtype == torch.int64
    counts = torch.bincount(numbers, minlength=high)
    assert counts.numel() == high
    assert high == 1 or stats.chisquare(counts.numpy()).pvalue > P


@given(KEYS, st.integers(0, 40))
def test_permutations_hold_every_number_once(key: int, count: int) -> None:
    orders = draw(key, 16).permutation(count)
    assert orders.shape == (16, count)
    assert torch.equal(orders.sort(-1).values, torch.arange(count).expand(16, count))


def test_all_orders_are_equally_likely() -> None:
    orders = draw(9, 24_000).permutation(4)
    codes = (orders * torch.tensor([64, 16, 4, 1])).sum(-1)
    counts = torch.unique(codes, return_counts=True)[1]
    assert counts.numel() == 24
    assert stats.chisquare(counts.numpy()).pvalue > P
