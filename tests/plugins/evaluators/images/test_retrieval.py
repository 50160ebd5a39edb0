"""Retrieval: against scikit-learn and rankings whose precision is known."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score

from sslkit import Retrieval
from sslkit.core.evaluator import Features
from sslkit.errors import DataError
from sslkit_evaluators.images import retrieval
from tests.plugins.evaluators.subjects import Given, clusters, names, subject


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mixed(count, seed, classes=5):
    """Features of which classes can be told only in part."""
    return clusters(count, classes, 6, 3.0, generator(seed))


def expected_map(queries, gallery, skip_own):
    """scikit-learn's average precision of every query."""
    values, labels = queries
    bank, theirs = gallery
    similarity = torch.nn.functional.normalize(values) @ torch.nn.functional.normalize(bank).T
    found = []
    for i, row in enumerate(similarity):
        keep = torch.arange(len(bank)) != (i if skip_own else -1)
        right = (theirs == labels[i])[keep]
        if right.any():
            found.append(average_precision_score(right.numpy(), row[keep].numpy()))
    return sum(found) / len(found)


@pytest.mark.parametrize("at_once", [1, 700, 1 << 24])
def test_mean_average_precision_is_scikit_learns(monkeypatch, at_once):
    """In parts of any size."""
    monkeypatch.setattr(retrieval, "AT_ONCE", at_once)
    train, test = mixed(120, 3), mixed(40, 4)
    found = Retrieval().build()(subject(train, test, 5))
    assert found.metrics["map"] == pytest.approx(expected_map(test, train, False), abs=1e-9)
    own = Retrieval(gallery="test").build()(subject(train, test, 5))
    assert own.metrics["map"] == pytest.approx(expected_map(test, test, True), abs=1e-9)
    assert own.tables["gallery"] == 40


def angles(*degrees):
    turned = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([turned.cos(), turned.sin()], 1)


def test_a_ranking_by_hand():
    """One query at 0 degrees: hits at ranks 1, 3 and 5 of 5 give (1 + 2/3 + 3/5) / 3."""
    train = (angles(1, 2, 3, 4, 5), torch.tensor([0, 1, 0, 1, 0]))
    test = (angles(0, 90), torch.tensor([0, 1]))
    found = Retrieval(ks=(1, 2)).build()(subject(train, test, 2))
    by_class = found.tables["map_by_class"]
    assert by_class["class 0"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert by_class["class 1"] == pytest.approx((1 / 2 + 2 / 4) / 2), "5, 4, 3, 2, 1 seen from 90 degrees"
    assert found.metrics["map"] == pytest.approx(sum(by_class.values()) / 2)
    assert found.metrics["recall_1"] == 0.5
    assert found.metrics["recall_2"] == 1.0


def test_equal_images_rank_by_their_place():
    train = (angles(0, 0, 0), torch.tensor([1, 0, 1]))
    test = (angles(0), torch.tensor([0]))
    found = Retrieval(ks=(1, 2)).build()(subject(train, test, 2))
    assert found.metrics == {"map": 0.5, "recall_1": 0.0, "recall_2": 1.0}


def test_queries_without_an_image_of_their_class_are_left_out():
    test = (angles(0, 10, 20), torch.tensor([0, 0, 1]))
    found = Retrieval(gallery="test").build()(subject(test, test, 2))
    assert found.tables["queries"] == 2
    assert list(found.tables["map_by_class"]) == ["class 0"]
    alone = (angles(0, 10), torch.tensor([0, 1]))
    with pytest.raises(
        DataError, match=r"^retrieval: no test image has an image of its class in the gallery$"
    ):
        Retrieval(gallery="test").build()(subject(alone, alone, 2))


def test_the_test_images_are_enough_for_a_gallery_of_them():
    assert Retrieval(gallery="test").build().needs == ("test",)
    given = Given({"test": Features(*mixed(30, 2), names(5))})
    assert 0 < Retrieval(gallery="test").build()(given).metrics["map"] < 1


def test_perfect_features_find_everything(tmp_path):
    labels = torch.arange(20) % 4
    values = torch.eye(4)[labels]
    found = Retrieval().build()(subject((values, labels), (values, labels), 4))
    assert found.metrics == {"map": 1.0, "recall_1": 1.0, "recall_5": 1.0, "recall_10": 1.0}
    found.figures["classes"](tmp_path / "classes.png")
    assert (tmp_path / "classes.png").stat().st_size > 1000


def test_its_name_tells_what_was_changed():
    assert Retrieval().build().protocol == "retrieval@1"
    assert Retrieval(gallery="test", ks=(3,)).build().protocol == "retrieval@1(gallery=test, ks=(3,))"
