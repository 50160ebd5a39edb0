from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit import KNN
from sslkit.core.evaluator import Features
from sslkit.errors import DataError
from sslkit_evaluators.probes.knn import rank_classes, vote
from tests.plugins.evaluators.subjects import Given, names, subject


@pytest.fixture
def reference(golden):
    arrays = golden("knn_dino")
    train = (arrays["train_features"], arrays["train_labels"])
    return arrays, subject(train, (arrays["test_features"], arrays["test_labels"]), 10)


@pytest.mark.parametrize("engine", ["auto", "faiss", "torch"])
@pytest.mark.parametrize("row", range(5))
def test_equals_dino(reference, engine, row):
    arrays, given = reference
    k, temperature, top1, top5 = arrays["k_T_top1_top5"][row].tolist()
    metrics = KNN(k=int(k), temperature=temperature, engine=engine).build()(given).metrics
    assert list(metrics) == ["accuracy", "top5"]
    assert metrics["accuracy"] * 100 == pytest.approx(top1, abs=1e-9)
    assert metrics["top5"] * 100 == pytest.approx(top5, abs=1e-9)


def test_votes_equal_dino(reference):
    arrays, _ = reference
    rows = arrays["neighbors_k20"]
    similarity = (arrays["test_features"].double()[:, None] * arrays["train_features"].double()[rows]).sum(-1)
    scores = vote(similarity, arrays["train_labels"][rows], 10, 0.07)
    expected = arrays["scores_k20_T007"]
    torch.testing.assert_close(scores / scores.sum(1, keepdim=True), expected / expected.sum(1, keepdim=True))
    assert torch.equal(rank_classes(scores)[:, 0], arrays["pred_k20_T007"])


def test_votes_by_hand():
    similarity = torch.tensor([[1.0, 0.5, 0.5], [0.9, 0.9, 0.1]], dtype=torch.float64)
    scores = vote(similarity, torch.tensor([[2, 0, 0], [1, 0, 1]]), 3, 0.5)
    decay = torch.tensor([-1.0, -1.6], dtype=torch.float64).exp()
    expected = torch.tensor([[2 * decay[0], 0, 1], [1, 1 + decay[1], 0]], dtype=torch.float64)
    torch.testing.assert_close(scores, expected)


def test_small_temperature_is_the_nearest_neighbor():
    train = (torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.9, 0.11]]), torch.tensor([0, 1, 1]))
    given = subject(train, (torch.tensor([[1.0, 0.0]]), torch.tensor([0])), 2)
    assert KNN(k=3, temperature=1e-4).build()(given).metrics["accuracy"] == 1
    assert KNN(k=3, temperature=1.0).build()(given).metrics["accuracy"] == 0


def test_equal_scores_go_to_the_lower_class():
    assert rank_classes(torch.tensor([[0.0, 2.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])).tolist() == [
        [1, 2, 3, 0],
        [0, 1, 2, 3],
    ]


def features(rows: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    values = torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))
    return values, torch.arange(rows) % classes


@pytest.mark.parametrize(
    ("classes", "metrics"), [(2, {"accuracy"}), (4, {"accuracy"}), (5, {"accuracy", "top5"})]
)
def test_top5_needs_five_classes(classes, metrics):
    found = KNN(k=3).build()(subject(features(40, classes, 0), features(10, classes, 1), classes)).metrics
    assert set(found) == metrics
    assert all(type(value) is float and 0 <= value <= 1 for value in found.values())


def test_training_images_find_themselves():
    train = features(50, 7, 0)
    assert KNN(k=1).build()(subject(train, train, 7)).metrics["accuracy"] == 1


def test_more_neighbors_than_images_is_an_error():
    with pytest.raises(DataError, match=r"k = 20 .* only 12 training images"):
        KNN().build()(subject(features(12, 3, 0), features(4, 3, 1), 3))


def test_different_classes_are_an_error():
    train, test = features(30, 3, 0), features(6, 3, 1)
    given = Given({"train": Features(*train, names(3)), "test": Features(*test, (*names(2), "zebra"))})
    with pytest.raises(DataError, match="in only one of them: class 2, zebra"):
        KNN().build()(given)
    swapped = Given({"train": Features(*train, names(3)), "test": Features(*test, names(3)[::-1])})
    with pytest.raises(DataError, match="another order"):
        KNN().build()(swapped)


@pytest.mark.parametrize("split", ["train", "test"])
def test_features_that_are_not_finite_are_an_error(split):
    splits = {"train": features(30, 3, 0), "test": features(6, 3, 1)}
    splits[split][0][4, 2] = float("nan")
    with pytest.raises(DataError, match=rf"1 of \d+ {split} images are not finite, the first of image 4"):
        KNN().build()(subject(splits["train"], splits["test"], 3))


def test_a_split_without_images_is_an_error():
    with pytest.raises(DataError, match="test split has no images"):
        KNN().build()(subject(features(30, 3, 0), features(0, 3, 1), 3))


def test_protocol_names_what_differs():
    assert KNN().build().protocol == "knn@1"
    assert KNN(engine="faiss", name="other", every="5 epochs").build().protocol == "knn@1"
    assert KNN(k=200, temperature=0.1).build().protocol == "knn@1(k=200, temperature=0.1)"


def test_lists_of_k_and_temperature_equal_single_runs(reference):
    arrays, given = reference
    scores = KNN(k=(20, 5, 1), temperature=(0.07, 0.5)).build()(given)
    grid = scores.tables["grid"]
    assert [(row["k"], row["temperature"]) for row in grid] == [
        (20, 0.07), (20, 0.5), (5, 0.07), (5, 0.5), (1, 0.07), (1, 0.5),
    ]  # fmt: skip
    for row in grid:
        alone = KNN(k=row["k"], temperature=row["temperature"]).build()(given)
        assert alone.metrics == {"accuracy": row["accuracy"], "top5": row["top5"]}
        name = f"_k{row['k']}_T{row['temperature']:g}"
        assert scores.metrics["accuracy" + name] == row["accuracy"]
        assert scores.metrics["top5" + name] == row["top5"]
    first = KNN().build()(given)
    assert list(scores.metrics)[:2] == ["accuracy", "top5"]
    assert {name: scores.metrics[name] for name in first.metrics} == first.metrics
    assert torch.equal(scores.predictions.guesses, first.predictions.guesses)
    assert torch.equal(first.predictions.labels, arrays["test_labels"])


def test_one_pair_has_no_table_and_the_old_names(reference):
    scores = KNN(k=(20,), temperature=(0.07,)).build()(reference[1])
    assert scores.tables == {}
    assert scores.metrics == KNN().build()(reference[1]).metrics


def test_beyond_the_exact_size_recall_is_told(reference):
    given = reference[1]
    rough = KNN(exact_up_to=0, probes=1).build()(given).metrics
    assert 0.1 < rough["recall"] <= 1
    every = KNN(exact_up_to=0, probes=10_000).build()(given).metrics
    assert every.pop("recall") == 1, "all cells were searched"
    assert every == KNN().build()(given).metrics
    assert "recall" not in KNN(exact_up_to=len(given.splits["train"].labels)).build()(given).metrics
    assert KNN(exact_up_to=0).build().protocol == "knn@1(exact_up_to=0)"
