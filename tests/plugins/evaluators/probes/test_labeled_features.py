"""Labeled features that nothing can be trained on, or that cannot be compared, are told before anything is fitted."""

from __future__ import annotations

import re

import pytest
import torch

from sslkit.core.evaluator import Features
from sslkit.errors import DataError
from sslkit_evaluators.probes.labeled_features import labeled, require_finite, same_classes
from tests.plugins.evaluators.subjects import Given


def features(*classes: str, values: torch.Tensor | None = None) -> Features:
    """An image of each of `classes`, or features `values` of the first."""
    values = torch.eye(len(classes), 3) if values is None else values
    return Features(values, torch.arange(len(values)), classes)


def test_features_that_are_sound_come_as_they_are():
    test = features("cat", "dog")
    assert labeled(Given({"test": test}), "test") is test


def test_a_split_without_images_is_named():
    subject = Given({"train": features("cat"), "test": features("cat", values=torch.zeros(0, 3))})
    assert len(labeled(subject, "train").labels) == 1
    with pytest.raises(DataError, match=r"^the test split has no images to evaluate on$"):
        labeled(subject, "test")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_diverged_network_is_told_by_its_first_image(value):
    values = torch.zeros(6, 4)
    values[2, 3] = values[5, 0] = value
    message = (
        r"features of 2 of 6 train images are not finite, the first of image 2: the network has diverged"
    )
    with pytest.raises(DataError, match=f"^{message}$"):
        require_finite(values, "train")
    with pytest.raises(DataError, match=message):
        labeled(Given({"train": features("cat", values=values)}), "train")


def test_equal_classes_are_counted():
    assert same_classes(features("cat", "dog", "owl"), features("cat", "dog", "owl")) == 3


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (("cat", "dog"), ("cat", "owl"), "train has 2 classes and test 2; in only one of them: dog, owl. "),
        (("cat", "dog"), ("cat",), "train has 2 classes and test 1; in only one of them: dog. Give an evaluator's"),
        (("cat", "dog"), ("dog", "cat"), "the same names in another order. Give an evaluator's `train` and `test`"),
        (tuple("abcdefg"), (), "in only one of them: a, b, c, d, e. Give"),
        (("cat",), ("cat",), "all images are of one class, 'cat', so there is nothing to tell apart; give data of"),
    ],
)  # fmt: skip
def test_classes_that_cannot_be_compared_are_named(train, test, message):
    with pytest.raises(DataError, match=re.escape(message)):
        same_classes(features(*train), features(*test))
