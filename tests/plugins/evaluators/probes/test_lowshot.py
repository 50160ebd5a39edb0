"""Low-shot subsets, their classifiers and the area under the curve."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit import LowShot
from sslkit_evaluators.probes.lowshot import Point, area, draw_curve, rank_in_class
from tests.plugins.evaluators.subjects import clusters, subject


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def given(noise=0.5, seed=0, train=300):
    made = [clusters(n, 5, 16, noise, generator(seed + i)) for i, n in enumerate((train, 100))]
    scaled = [(F.normalize(x / torch.logspace(-2, 2, 16), dim=1), y) for x, y in made]
    return subject(*scaled, 5, seed)


def test_a_constant_curve_has_its_own_area():
    assert area([(1, 0.3), (10, 0.3), (500, 0.3)]) == pytest.approx(0.3)
    assert area([(7, 0.4)]) == 0.4


def test_a_line_in_the_logarithm_has_the_mean_of_its_ends():
    line = [(n, 0.2 + 0.1 * math.log10(n)) for n in (1, 3, 10, 200, 1000)]
    assert area(line) == pytest.approx((0.2 + 0.5) / 2)
    assert area([(1, 0.0), (10, 1.0), (1000, 1.0)]) == pytest.approx((0.5 + 2) / 3)


def test_sizes_that_coincide_count_once():
    assert area([(1, 0.2), (1, 0.4), (10, 0.5)]) == pytest.approx((0.3 + 0.5) / 2)


def test_ranks_are_a_random_order_of_each_class():
    labels = torch.arange(40) % 3
    rank = rank_in_class(labels, 3, 0)
    for c in range(3):
        size = int((labels == c).sum())
        assert rank[labels == c].sort().values.tolist() == list(range(size))
    assert not torch.equal(rank, rank_in_class(labels, 3, 1))
    assert torch.equal(rank, rank_in_class(labels, 3, 0))


@pytest.mark.parametrize("head", ["logistic", "knn"])
def test_sizes_draws_and_metrics(head):
    protocol = LowShot(shares=(0.1, 1.0), shots=(1, 3), draws=4, head=head, k=5).build()
    scores = protocol(given(4.0))
    rows = scores.tables["sizes"]
    assert [(row["size"], row["images"], row["draws"]) for row in rows] == [
        ("1shot", 5, 4), ("3shot", 15, 4), ("10pct", 30, 4), ("100pct", 300, 1),
    ]  # fmt: skip
    assert list(scores.metrics) == ["area", *(f"accuracy_{row['size']}" for row in rows)]
    for row in rows:
        found = torch.tensor(row["accuracies"], dtype=torch.float64)
        assert scores.metrics[f"accuracy_{row['size']}"] == pytest.approx(found.mean().item())
        assert row["std"] == pytest.approx(found.std().item() if len(found) > 1 else 0)
    means = [(row["images"], row["mean"]) for row in rows]
    assert scores.metrics["area"] == pytest.approx(area(means)), "the area is linear in the accuracies"
    assert rows[0]["mean"] < rows[-1]["mean"]
    assert scores.predictions is None


def test_separable_features_need_one_image_of_each_class():
    scores = LowShot(shots=(1, 2), shares=(), draws=3).build()(given(noise=0.01))
    assert scores.metrics == {"area": 1.0, "accuracy_1shot": 1.0, "accuracy_2shot": 1.0}
    assert scores.tables["area"] == {"mean": 1.0, "std": 0.0}


def test_noise_gives_chance_at_every_size():
    values, labels = torch.randn(1200, 16, generator=generator(4)), torch.arange(1200) % 4
    order = torch.randperm(1200, generator=generator(5))
    values, labels = values[order], labels[order]
    noise = subject((values[:600], labels[:600]), (values[600:], labels[600:]), 4)
    scores = LowShot(shares=(0.1,), shots=(1, 5)).build()(noise)
    assert all(abs(value - 0.25) < 0.06 for value in scores.metrics.values())


def test_shares_are_of_every_class_and_at_least_one_image():
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([100, 20, 4]))
    values = F.one_hot(labels, 3).float()
    scores = LowShot(shares=(0.01, 0.1), shots=(50,), draws=2).build()(
        subject((values, labels), (values, labels), 3)
    )
    images = {row["size"]: row["images"] for row in scores.tables["sizes"]}
    assert images == {"1pct": 1 + 1 + 1, "10pct": 10 + 2 + 1, "50shot": 50 + 20 + 4}


def test_test_labels_choose_nothing():
    one = given()
    poisoned = given()
    test = poisoned.splits["test"]
    poisoned.splits["test"] = test._replace(labels=(test.labels + 1) % 5)
    protocol = LowShot(shares=(1.0,), shots=(), draws=2).build()
    right, wrong = protocol(one).metrics["area"], protocol(poisoned).metrics["area"]
    assert right > 0.9
    assert wrong < 0.1


def test_repeats_by_seed_and_leaves_torchs_generator_alone():
    protocol = LowShot.example().build()
    before = torch.get_rng_state()
    first = protocol(given(2.0))
    assert protocol(given(2.0)).tables == first.tables
    other = given(2.0)
    other.seed = 77
    assert protocol(other).tables != first.tables
    assert torch.equal(torch.get_rng_state(), before)


def test_the_curve_is_drawn(tmp_path):
    draw_curve(tmp_path / "curve.png", [Point("1shot", 5, [0.2, 0.3]), Point("1pct", 50, [0.6])])
    assert (tmp_path / "curve.png").stat().st_size > 5000


def test_protocol_names_what_differs():
    assert LowShot().build().protocol == "lowshot@1"
    assert LowShot(head="knn").build().protocol == "lowshot@1(head=knn)"
