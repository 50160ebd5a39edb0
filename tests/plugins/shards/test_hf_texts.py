"""Columns of Hugging Face data sets that hold labels, groups and texts."""

from __future__ import annotations

import pytest

from sslkit.errors import DataError
from sslkit_shards.hf_texts import column_of, texts_in
from tests.plugins.shards.hf_sets import datasets


def one(values, feature=None):
    features = None if feature is None else datasets.Features({"x": feature})
    return datasets.Dataset.from_dict({"x": values}, features=features)


@pytest.mark.parametrize(
    ("values", "feature", "texts"),
    [
        ([1, 0, -1, None], datasets.ClassLabel(names=["a", "b"]), ["b", "a", "", ""]),
        ([3, 0, None], datasets.Value("int32"), ["3", "0", ""]),
        ([True, False], datasets.Value("bool"), ["True", "False"]),
        (["a", "", None], datasets.Value("string"), ["a", "", ""]),
        (["a", "b"], datasets.Value("large_string"), ["a", "b"]),
    ],
)
def test_texts(values, feature, texts):
    assert texts_in(one(values, feature), "x", "label_column", "set") == texts


def test_rows_that_were_chosen():
    assert texts_in(one(["a", "b", "c"]).select([2, 0]), "x", "label_column", "set") == ["c", "a"]


@pytest.mark.parametrize("values", [[0.5], [["a"]], [{"a": 1}]])
def test_what_is_no_text_is_refused(values):
    with pytest.raises(
        DataError, match=r"set: column 'x' holds .*; expected classes.*`group_column`, or none"
    ):
        texts_in(one(values), "x", "group_column", "set")


def test_a_column_that_is_missing_is_told_with_those_that_are_there():
    dataset = datasets.Dataset.from_dict({"a": [1], "b": [2]})
    with pytest.raises(DataError, match=r"set: has no column 'x'; it has a, b\. .*`label_column`"):
        texts_in(dataset, "x", "label_column", "set")


def test_the_other_columns_are_not_read():
    column = column_of(datasets.Dataset.from_dict({"a": [1], "b": ["long"]}), "a", "label_column", "set")
    assert column.column_names == ["a"]
    assert column[0].column_names == ["a"]
