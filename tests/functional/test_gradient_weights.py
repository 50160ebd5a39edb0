"""Weights from Gram matrices against their definitions, on the gradients themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sslkit.functional import gradient_weights
from sslkit.runtime.parallel import Single


@st.composite
def matrices(draw: st.DrawFn, least: int = 1, most: int = 5) -> Tensor:
    """K gradients of 12 values, possibly far apart in length and in conflict."""
    count = draw(st.integers(least, most))
    made = torch.randn(count, 12, dtype=torch.float64, generator=seeded(draw(st.integers(0, 10**6))))
    spread = torch.logspace(0, draw(st.floats(-2, 2)), count, dtype=torch.float64)
    return (made - draw(st.floats(0, 0.9)) * made.mean(0)) * spread[:, None]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


RULES = {
    "pcgrad": lambda gram: gradient_weights.pcgrad(gram, torch.arange(len(gram)).expand(len(gram), -1)),
    "min_norm": gradient_weights.min_norm,
    "cagrad": lambda gram: gradient_weights.cagrad(gram, 0.5),
    "imtl_g": gradient_weights.imtl_g,
    "nash": gradient_weights.nash,
}
rules = pytest.mark.parametrize("rule", RULES)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-6) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-12))


# what every rule promises


@rules
@pytest.mark.parametrize(
    "rows",
    [
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]],
        [[1.0, 0.0], [-1.0, 0.0]],
        [[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]],
        [[1.0, 1.0], [3.0, 3.0]],
        [[1e-20, 0.0], [0.0, 1e20]],
        [[0.0, 0.0]],
        [[3.0, 4.0]],
    ],
    ids=["zero", "equal", "opposite", "one zero", "parallel", "far apart", "single zero", "single"],
)
def test_degenerate_gradients_are_safe(rule: str, rows: list[list[float]]) -> None:
    matrix = torch.tensor(rows, dtype=torch.float64)
    weights = RULES[rule](matrix @ matrix.T)
    assert weights.shape == (len(matrix),)
    assert weights.dtype == torch.float64
    assert weights.isfinite().all()
    assert (weights @ matrix).isfinite().all()


@rules
@settings(deadline=None, max_examples=25)
@given(matrix=matrices(2))
def test_permuted_gradients_have_permuted_directions(rule: str, matrix: Tensor) -> None:
    """With PCGrad, only for the same order of visits, so K is held to 2 there."""
    matrix = matrix[:2] if rule == "pcgrad" else matrix
    order = torch.arange(len(matrix)).flip(0)
    one = RULES[rule](matrix @ matrix.T) @ matrix
    two = RULES[rule]((matrix @ matrix.T)[order][:, order]) @ matrix[order]
    assert close(two, one, 1e-5)


@rules
@settings(deadline=None, max_examples=25)
@given(matrix=matrices(), scale=st.sampled_from([1e-6, 0.5, 1e4]))
def test_one_scale_of_all_gradients_scales_the_direction(rule: str, matrix: Tensor, scale: float) -> None:
    """Nash's direction has the square K whatever the scale."""
    one = RULES[rule](matrix @ matrix.T) @ matrix
    two = RULES[rule](scale**2 * (matrix @ matrix.T)) @ (scale * matrix)
    assert close(two, one if rule == "nash" else scale * one, 1e-5)


@rules
def test_one_gradient_keeps_its_direction(rule: str) -> None:
    weight = RULES[rule](torch.tensor([[25.0]], dtype=torch.float64))
    expected = {"nash": 1 / 5, "cagrad": 1.5}.get(rule, 1.0)
    assert weight.item() == pytest.approx(expected, rel=1e-9)


# products, lengths, cosines, conflict


def test_products_are_wide_and_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(3, 50, generator=seeded(0))
    expected = rows.double() @ rows.double().T
    assert torch.allclose(gradient_weights.products(rows), expected, rtol=1e-14)
    monkeypatch.setattr(gradient_weights, "PIECE", 7)
    assert torch.allclose(gradient_weights.products(rows), expected, rtol=1e-14)
    assert gradient_weights.products(rows[:, :0]).tolist() == [[0.0] * 3] * 3


@pytest.mark.parametrize("count", [2, 3, 5])
def test_gradients_in_float32_that_cancel_are_safe(count: int) -> None:
    """A run hands its float32 rows to `gram`, as terms that hold each other in balance make them."""
    one = Single(torch.device("cpu"))
    for seed in range(8):
        some = torch.randn(count - 1, 5003, generator=seeded(seed))
        share = torch.rand(count - 1, generator=seeded(seed + 100)) + 0.1
        rows = torch.cat([some, -(share @ some)[None]])
        shortest = gradient_weights.min_norm(one.gram(rows)).float() @ rows
        assert shortest.norm() < 1e-3 * rows.norm(dim=1).min()
        assert gradient_weights.nash(one.gram(rows)).isfinite().all()


def test_lengths_and_cosines() -> None:
    matrix = torch.tensor([[3.0, 4.0], [-4.0, 3.0], [-3.0, -4.0], [0.0, 0.0]], dtype=torch.float64)
    gram = matrix @ matrix.T
    assert gradient_weights.norms(gram).tolist() == [5, 5, 5, 0]
    expected = [[1, 0, -1, 0], [0, 1, 0, 0], [-1, 0, 1, 0], [0, 0, 0, 0]]
    assert gradient_weights.cosines(gram).tolist() == expected


def test_the_share_of_pairs_in_conflict() -> None:
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert gradient_weights.conflict(matrix @ matrix.T).item() == pytest.approx(1 / 3)
    assert gradient_weights.conflict(torch.ones(1, 1)).item() == 0


# PCGrad


@pytest.mark.parametrize("case", ["conflict4", "noconflict3", "two", "selfproj3"])
@pytest.mark.parametrize("order", ["fixed", "perm"])
def test_pcgrad_equals_its_golden(golden, case: str, order: str) -> None:  # type: ignore[no-untyped-def]
    """WeiChengTseng/Pytorch-PCGrad@e987ac6 times the task count, without self-projection (as torchjd 0.18.0)."""
    arrays = golden("pcgrad")
    matrix = arrays[f"G_{case}"]
    weights = gradient_weights.pcgrad(matrix @ matrix.T, arrays[f"order_{case}_{order}"])
    assert torch.allclose(weights @ matrix, arrays[f"sum_noself_{case}_{order}"], rtol=0, atol=1e-10)


@settings(deadline=None)
@given(matrix=matrices(), seed=st.integers(0, 1000))
def test_pcgrad_equals_projections_of_the_gradients(matrix: Tensor, seed: int) -> None:
    count = len(matrix)
    orders = torch.stack([torch.randperm(count, generator=seeded(seed + i)) for i in range(count)])
    expected = torch.zeros_like(matrix[0])
    for i, order in enumerate(orders.tolist()):
        row = matrix[i].clone()
        for j in order:
            if j != i and row @ matrix[j] < 0:
                row -= (row @ matrix[j]) / (matrix[j] @ matrix[j]) * matrix[j]
        expected += row
    assert close(gradient_weights.pcgrad(matrix @ matrix.T, orders) @ matrix, expected, 1e-8)


@settings(deadline=None)
@given(matrix=matrices(2, 2))
def test_pcgrad_leaves_no_conflict_between_two(matrix: Tensor) -> None:
    direction = gradient_weights.pcgrad(matrix @ matrix.T, torch.tensor([[0, 1], [0, 1]])) @ matrix
    assert (matrix @ direction).min() >= -1e-9 * (matrix @ matrix.T).max()


# MGDA


@settings(deadline=None)
@given(matrix=matrices())
def test_the_shortest_combination(matrix: Tensor) -> None:
    """Optimal: products with all gradients are at least its square, with those of positive weight equal to it."""
    gram = matrix @ matrix.T
    weights = gradient_weights.min_norm(gram)
    assert weights.min() >= 0
    assert weights.sum().item() == pytest.approx(1)
    direction = weights @ matrix
    slack = matrix @ direction - direction @ direction
    assert slack.min() >= -1e-8 * gram.max()
    assert (weights * slack).abs().max() <= 1e-8 * gram.max()


@settings(deadline=None, max_examples=30)
@given(matrix=matrices(2, 4))
def test_it_is_no_longer_than_torchjds(matrix: Tensor) -> None:
    """torchjd 0.18's MGDA searches by Frank and Wolfe's method."""
    torchjd = pytest.importorskip("torchjd.aggregation")
    gram = matrix @ matrix.T
    found = gradient_weights.min_norm(gram) @ matrix
    searched = torchjd.MGDAWeighting(epsilon=1e-9, max_iters=500)(gram) @ matrix
    assert found.norm() <= searched.norm() * (1 + 1e-9)


def test_two_gradients_by_hand() -> None:
    """Sener and Koltun 2018, algorithm 1: the foot of the perpendicular, or the shorter gradient."""
    for second, expected in (([0.0, 2.0], [0.8, 0.2]), ([3.0, 0.0], [1.0, 0.0])):
        matrix = torch.tensor([[1.0, 0.0], second], dtype=torch.float64)
        assert torch.allclose(
            gradient_weights.min_norm(matrix @ matrix.T), torch.tensor(expected, dtype=torch.float64)
        )


# CAGrad


@settings(deadline=None)
@given(matrix=matrices(), c=st.sampled_from([0.0, 0.2, 0.5, 0.9]))
def test_cagrad_is_best_within_its_ball(matrix: Tensor, c: float) -> None:
    """In the ball, and no point of it has a larger smallest product: the dual's value is a bound on all of them."""
    gram = matrix @ matrix.T
    mean = matrix.mean(0)
    direction = gradient_weights.cagrad(gram, c) @ matrix
    assert (direction - mean).norm() <= c * mean.norm() * (1 + 1e-9) + 1e-12
    reached = (matrix @ direction).min()
    extra = gradient_weights.cagrad(gram, c) - 1 / len(matrix)
    if c == 0 or extra.sum() == 0:
        return
    w = extra / extra.sum()
    assert w.min() >= -1e-12
    bound = (w @ matrix) @ mean + c * mean.norm() * (w @ matrix).norm()
    assert abs(reached - bound) <= 1e-7 * gram.max()


def test_without_a_ball_cagrad_is_the_mean() -> None:
    matrix = torch.randn(3, 7, dtype=torch.float64, generator=seeded(1))
    assert torch.equal(
        gradient_weights.cagrad(matrix @ matrix.T, 0.0), torch.full((3,), 1 / 3, dtype=torch.float64)
    )


# IMTL-G


@settings(deadline=None)
@given(matrix=matrices(2))
def test_projections_are_equal(matrix: Tensor) -> None:
    weights = gradient_weights.imtl_g(matrix @ matrix.T)
    units = matrix / matrix.norm(dim=1, keepdim=True)
    projections = units @ (weights @ matrix)
    assert (projections - projections[0]).abs().max() <= 1e-6 * (weights[:, None] * matrix).norm(dim=1).max()
    assert projections[0] > -1e-9, "a direction must not raise the losses"
    assert abs(weights.sum()).item() == pytest.approx(1, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(matrix=matrices(2, 4))
def test_equal_projections_as_torchjd_has_them(matrix: Tensor) -> None:
    torchjd = pytest.importorskip("torchjd.aggregation")
    gram = matrix @ matrix.T
    expected = torchjd.IMTLGWeighting()(gram)
    assert close(
        gradient_weights.imtl_g(gram), expected * (expected @ gram @ gram.diagonal().rsqrt()).sign(), 1e-4
    )


@settings(deadline=None, max_examples=25)
@given(matrix=matrices(2), factor=st.floats(0.01, 100))
def test_the_length_of_one_gradient_does_not_turn_the_direction(matrix: Tensor, factor: float) -> None:
    """Of IMTL-G and Nash-MTL, as their papers state."""
    scaled = matrix.clone()
    scaled[0] *= factor
    for rule in (gradient_weights.imtl_g, gradient_weights.nash):
        one, two = rule(matrix @ matrix.T) @ matrix, rule(scaled @ scaled.T) @ scaled
        assert close(two / two.norm(), one / one.norm(), 1e-4)


# Nash-MTL


@settings(deadline=None)
@given(matrix=matrices(1, 6))
def test_the_bargaining_solution(matrix: Tensor) -> None:
    gram = matrix @ matrix.T
    weights = gradient_weights.nash(gram)
    assert weights.min() > 0
    assert torch.allclose(weights * (gram @ weights), torch.ones(len(gram), dtype=torch.float64), atol=1e-6)


def test_all_of_it_runs_without_asking_the_device() -> None:
    """On tensors without data every operation must know its shapes, and none may read a value."""
    with torch.device("meta"):
        gram = torch.ones(3, 3, dtype=torch.float64)
        for name in ("imtl_g", "nash", "min_norm"):
            assert RULES[name](gram).shape == (3,)
        assert gradient_weights.pcgrad(gram, torch.zeros(3, 3, dtype=torch.int64)).shape == (3,)
        assert gradient_weights.cagrad(gram, 0.5).shape == (3,)
