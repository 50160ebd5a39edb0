"""Labels of whole datasets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from sslkit.errors import DataError
from sslkit_sources.dataset_labels import cheap_labels, class_names, column_of, labeled, read_labels
from sslkit_sources.item_images import Keys
from tests.plugins.sources.python_sets import LABELS, Items, chw

PAIRS = Items(lambda i: (chw(i), LABELS[i]), targets=LABELS, classes=["a", "b", "c", "d"])


class Table(Items):
    """As a dataset of Hugging Face: a column by its name."""

    column_names = ("image", "label")

    class _Feature:
        names = ("cat", "dog", "emu", "fox")

    features = {"label": _Feature}  # noqa: RUF012

    def __getitem__(self, index):
        return LABELS if index == "label" else super().__getitem__(index)


TABLE = Table(lambda i: {"image": chw(i), "label": LABELS[i]})


@pytest.mark.parametrize(
    ("dataset", "labels"),
    [
        (PAIRS, LABELS),
        (Items(lambda i: (chw(i), LABELS[i]), labels=np.array(LABELS)), LABELS),
        (Items(lambda i: (chw(i), LABELS[i]), targets=torch.tensor(LABELS)), LABELS),
        (Subset(PAIRS, [5, 1, 2]), [1, 1, 2]),
        (Subset(Subset(PAIRS, [5, 1, 2]), [2]), [2]),
        (ConcatDataset([PAIRS, Subset(PAIRS, [3])]), [*LABELS, 3]),
        (TensorDataset(torch.stack([chw(i) for i in range(40)]), torch.tensor(LABELS)), LABELS),
        (TABLE, LABELS),
    ],
    ids=["targets", "labels", "tensor", "subset", "subset of one", "concat", "tensors", "column"],
)
def test_where_datasets_have_their_labels(dataset, labels):
    assert cheap_labels(dataset, Keys()) == labels


def test_two_items_are_read_to_see_that_the_labels_are_theirs():
    pairs = Items(lambda i: (chw(i), LABELS[i]), targets=LABELS)
    assert cheap_labels(pairs, Keys()) == LABELS
    assert set(pairs.read) == {0, 39}


def test_labels_that_are_not_those_of_the_items_do_not_count():
    shifted = Items(lambda i: (chw(i), LABELS[i] + 1), targets=LABELS)  # by a target_transform
    assert cheap_labels(shifted, Keys()) is None
    assert cheap_labels(Items(lambda i: (chw(i), LABELS[i]), targets=LABELS[:7]), Keys()) is None
    assert read_labels(shifted, Keys())[:5] == [1, 2, 3, 4, 1]


def test_without_a_column_each_item_is_read():
    pairs = Items(lambda i: (chw(i), LABELS[i]))
    assert column_of(pairs, Keys()) is None
    assert read_labels(pairs, Keys()) == LABELS
    assert pairs.read == list(range(40))


def test_a_subset_of_a_dataset_without_labels_has_none():
    assert column_of(Subset(Items(chw), [1, 2]), Keys()) is None
    assert column_of(ConcatDataset([PAIRS, Items(chw)]), Keys()) is None


def test_an_item_that_cannot_be_read_has_no_label():
    broken = Items(lambda i: 1 // 0 if i == 2 else (chw(i), LABELS[i]), count=4)
    assert read_labels(broken, Keys()) == [0, 1, None, 3]


def test_names_of_classes():
    assert class_names(PAIRS, Keys()) == ("a", "b", "c", "d")
    assert class_names(Subset(PAIRS, [1]), Keys()) == ("a", "b", "c", "d")
    assert class_names(TABLE, Keys()) == ("cat", "dog", "emu", "fox")
    assert class_names(TABLE, Keys(label="breed")) == ()
    assert class_names(Items(chw), Keys()) == ()


def test_numbers_and_words_become_numbers_with_names():
    assert labeled([2, 0], ()).classes == ("0", "1", "2")
    assert labeled([2, 0], ("x", "y", "z")).classes == ("x", "y", "z")
    words = labeled(["dog", "cat", "dog"], ())
    assert words.numbers.tolist() == [1, 0, 1]
    assert words.classes == ("cat", "dog")
    assert labeled(["dog"], ("dog", "cat")).numbers.tolist() == [0]
    assert labeled([1, None], ()).numbers is None
    assert labeled([], ()).numbers is None


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, -1], (), "a label is -1; expected whole numbers from 0"),
        ([0, 7], ("a", "b"), "a label is 7, and there are 2 `classes`, counted from 0"),
        (["cow"], ("cat", "dog"), "label 'cow' is not among `classes`: cat, dog"),
    ],
)
def test_labels_that_fit_no_class(labels, names, message):
    with pytest.raises(DataError, match=message):
        labeled(labels, names)
