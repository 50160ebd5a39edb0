"""How far results are from those of a reference: numbers that a test compares with its bound."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def error_of(actual: Tensor, expected: Tensor) -> float:
    """The largest absolute difference, in float64; NaN, which is below no bound, where either is."""
    assert actual.shape == expected.shape, f"{[*actual.shape]} where {[*expected.shape]} was expected"
    return (actual.double() - expected.double()).abs().max().item()


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to 1 + the expected absolute value, so that both kinds count."""
    assert actual.shape == expected.shape, f"{[*actual.shape]} where {[*expected.shape]} was expected"
    expected = expected.double()
    return ((actual.double() - expected).abs() / (1 + expected.abs())).max().item()


def beyond(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], bound: float) -> dict[str, float]:
    """Name -> `relative_error` of the values, of the same names, whose error is not within `bound`."""
    assert actual.keys() == expected.keys()
    errors = {name: relative_error(value, expected[name]) for name, value in actual.items()}
    return {name: error for name, error in errors.items() if not error <= bound}  # of NaN, too
