"""Nothing is learned from the test split, and odd features break no evaluator of features."""

from __future__ import annotations

import math

import pytest
import torch

from sslkit import KNN, LinearProbe, LogisticRegression, LowShot, Retrieval
from sslkit.errors import DataError
from tests.plugins.evaluators.subjects import clusters, subject

CLASSES, DIM = 3, 6
LEARNERS = {
    "knn": KNN(k=5),
    "linear": LinearProbe(learning_rates=(0.1, 1.0), epochs=3, batch_size=16),
    "logistic": LogisticRegression(strengths=(0.1, 10.0), halvings=0, iterations=30),
}
UNGUESSED = {
    "lowshot": LowShot(shots=(1, 2), shares=(1.0,), draws=2),
    "lowshot by neighbors": LowShot(shots=(1, 2), shares=(1.0,), draws=2, head="knn", k=3),
    "retrieval": Retrieval(ks=(1, 3)),
}
EVERY = {**LEARNERS, **UNGUESSED}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def train():
    return clusters(48, CLASSES, DIM, 0.8, generator(1))


@pytest.fixture(name="test")
def held_out():
    return clusters(30, CLASSES, DIM, 0.8, generator(2))


def scored(spec, train, test, classes=CLASSES):
    return spec.build()(subject(train, test, classes, seed=4))


@pytest.mark.parametrize("spec", LEARNERS.values(), ids=LEARNERS)
def test_test_labels_are_only_compared(spec, train, test):
    """Wrong labels change the score and nothing else: neither guesses nor what was chosen."""
    values, labels = test
    right, wrong = scored(spec, train, test), scored(spec, train, (values, (labels + 1) % CLASSES))
    assert torch.equal(right.predictions.guesses, wrong.predictions.guesses)
    assert right.tables == wrong.tables
    assert right.metrics["accuracy"] > 0.5 > wrong.metrics["accuracy"]
    left_out = {"accuracy"}
    assert {k: v for k, v in right.metrics.items() if k not in left_out} == {
        k: v for k, v in wrong.metrics.items() if k not in left_out
    }


@pytest.mark.parametrize("spec", LEARNERS.values(), ids=LEARNERS)
def test_no_statistic_of_the_test_images_is_used(spec, train, test):
    """An image is told the same class alone, among others, and beside one that is far from everything."""
    values, labels = test
    whole = scored(spec, train, test).predictions.guesses
    half = scored(spec, train, (values[:10], labels[:10])).predictions.guesses
    assert torch.equal(half, whole[:10])
    far = torch.cat([values, 1e4 * torch.ones(1, DIM)])
    beside = scored(spec, train, (far, torch.cat([labels, labels[:1]]))).predictions.guesses
    assert torch.equal(beside[:-1], whole)


@pytest.mark.parametrize("spec", [UNGUESSED["lowshot"], UNGUESSED["lowshot by neighbors"]], ids=["a", "b"])
def test_low_shot_scores_of_parts_make_the_score_of_the_whole(spec, train, test):
    """Each test image counts on its own: accuracies of two halves average to that of all."""
    values, labels = test
    whole = scored(spec, train, test).metrics
    one, two = (
        scored(spec, train, (values[part], labels[part])).metrics for part in (slice(15), slice(15, 30))
    )
    for name in ("accuracy_1shot", "accuracy_2shot", "accuracy_100pct"):
        assert (one[name] + two[name]) / 2 == pytest.approx(whole[name], abs=1e-12)


@pytest.mark.parametrize("spec", LEARNERS.values(), ids=LEARNERS)
def test_the_order_of_the_test_images_changes_no_guess(spec, train, test):
    values, labels = test
    order = torch.randperm(len(labels), generator=generator(3))
    plain, mixed = scored(spec, train, test), scored(spec, train, (values[order], labels[order]))
    assert torch.equal(mixed.predictions.guesses, plain.predictions.guesses[order])
    assert mixed.metrics["accuracy"] == plain.metrics["accuracy"]


@pytest.mark.parametrize("spec", EVERY.values(), ids=EVERY)
def test_a_class_without_training_images_is_scored_as_wrong_or_left_out(spec, train, test):
    """Class names that only the test images use, as ImageNet subsets have them."""
    values, labels = train
    kept = labels != 1
    found = scored(spec, (values[kept], labels[kept]), test)
    assert all(math.isfinite(value) for value in found.metrics.values())
    if found.predictions is not None:
        assert not bool((found.predictions.guesses == 1).any())
        assert found.metrics["accuracy"] <= 20 / 30 + 1e-9


@pytest.mark.parametrize("spec", EVERY.values(), ids=EVERY)
def test_a_class_without_test_images_is_no_trouble(spec, train, test):
    values, labels = test
    kept = labels != 2
    found = scored(spec, train, (values[kept], labels[kept]))
    assert all(math.isfinite(value) for value in found.metrics.values())


@pytest.mark.parametrize("spec", EVERY.values(), ids=EVERY)
def test_features_that_never_change_are_a_guess_and_not_a_failure(spec, train, test):
    """A collapsed network: all images have one feature."""
    constant = [(torch.full_like(values, 0.3), labels) for values, labels in (train, test)]
    found = scored(spec, *constant)
    assert all(math.isfinite(value) for value in found.metrics.values())
    if found.predictions is not None:
        assert len(found.predictions.guesses.unique()) == 1
        assert found.metrics["accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("spec", EVERY.values(), ids=EVERY)
def test_features_of_zero_have_no_direction_and_are_no_failure(spec, train, test):
    """A dead ReLU gives zeros, which have no cosine."""
    (a, x), (b, y) = train, test
    a, b = a.clone(), b.clone()
    a[0], b[0] = 0.0, 0.0
    found = scored(spec, (a, x), (b, y))
    assert all(math.isfinite(value) for value in found.metrics.values())


@pytest.mark.parametrize("spec", LEARNERS.values(), ids=LEARNERS)
def test_one_dimension_without_variance_changes_no_guess(spec, train, test):
    """A feature that is constant over the training images says nothing of the test images, where it is the same."""
    padded = [(torch.cat([v, torch.zeros(len(v), 1)], dim=1), y) for v, y in (train, test)]
    found, plain = scored(spec, *padded), scored(spec, train, test)
    assert found.metrics["accuracy"] == pytest.approx(plain.metrics["accuracy"], abs=0.1)


@pytest.mark.parametrize("spec", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("split", ["train", "test"])
def test_features_that_are_no_numbers_are_an_error(spec, train, test, bad, split):
    values = {"train": train[0].clone(), "test": test[0].clone()}
    values[split][7, 2] = bad
    with pytest.raises(
        DataError, match=f"features of 1 of .* {split} images are not finite, the first of image 7"
    ):
        scored(spec, (values["train"], train[1]), (values["test"], test[1]))


@pytest.mark.parametrize("spec", EVERY.values(), ids=EVERY)
def test_one_class_is_an_error(spec):
    values = torch.randn(12, DIM, generator=generator())
    one = (values, torch.zeros(12, dtype=torch.int64))
    with pytest.raises(
        DataError, match="all images are of one class, 'class 0', so there is nothing to tell apart"
    ):
        scored(spec, one, one, classes=1)


@pytest.mark.parametrize("spec", EVERY.values(), ids=EVERY)
def test_a_seed_gives_the_same_numbers_again(spec, train, test):
    one, two = scored(spec, train, test), scored(spec, train, test)
    assert one.metrics == two.metrics
    assert one.tables == two.tables


@pytest.mark.parametrize("spec", EVERY.values(), ids=EVERY)
def test_features_are_read_and_not_written(spec, train, test):
    """They are shared by all evaluators of a round, and may be memory-mapped."""
    before = [x.clone() for x in (*train, *test)]
    scored(spec, train, test)
    assert all(torch.equal(x, y) for x, y in zip((*train, *test), before, strict=True))


def test_a_large_offset_costs_no_accuracy():
    """Features around 1000 with a spread of 1, as nets without a last norm give: float32 keeps enough of them."""
    train, test = (clusters(48, CLASSES, DIM, 0.3, generator(seed)) for seed in (1, 2))
    moved = [((v - 5) / torch.logspace(-2, 2, DIM) + 1000, y) for v, y in (train, test)]
    for name in ("linear", "logistic"):
        assert scored(LEARNERS[name], *moved).metrics["accuracy"] > 0.9, name
