"""Inputs of the statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.errors import DataError, SpecError
from sslkit.statistics.input_checks import require_level, require_pairs, vector, zero_one


@pytest.mark.parametrize(
    "values",
    [[1, 0, 1], (True, False, True), np.array([1, 0, 1], np.uint8), torch.tensor([True, False, True])],
    ids=["list", "tuple", "array", "tensor"],
)
def test_rows_of_every_kind_are_taken(values):
    for check in (vector, zero_one):
        row = check(values, "x")
        assert row.dtype == np.float64
        assert row.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("values", "least", "message"),
    [
        ([], 1, "`x` must be one row of at least 1 value, got shape (0,)"),
        ([0.5], 2, "`x` must be one row of at least 2 values, got shape (1,)"),
        (0.5, 1, "got shape ()"),
        ([[0.5, 1]], 1, "got shape (1, 2)"),
        ([0.5, np.inf, np.nan], 1, "`x` must be finite, but value 1 is not"),
    ],
)
def test_what_is_no_row_is_refused(values, least, message):
    with pytest.raises(DataError) as caught:
        vector(values, "x", least)
    assert message in str(caught.value)


@pytest.mark.parametrize("values", [[0.5], [0, 2], [-1, 1]])
def test_what_is_not_0_or_1_is_refused(values):
    with pytest.raises(DataError, match="`x` must say of each image whether it was right: 0 or 1"):
        zero_one(values, "x")


def test_pairs_are_equally_many():
    require_pairs(np.zeros(3), np.ones(3))
    with pytest.raises(DataError, match="paired values must be equally many, got 3 and 4"):
        require_pairs(np.zeros(3), np.ones(4))


def test_levels():
    for level in (0.01, 0.5, 0.95, 0.999):
        require_level(level)
    for level in (0, 1, -0.5, 95, float("nan")):
        with pytest.raises(SpecError, match="level: must lie between 0 and 1"):
            require_level(level)
