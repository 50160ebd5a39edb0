"""Checks are run to the end, whatever they raise."""

from __future__ import annotations

import pytest

from sslkit.errors import PluginError
from sslkit.testing.report import DETAIL, Check, NotOffered, require, run


def raises(error):
    def check():
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "state", "detail"),
    [
        (PluginError("two\n  lines"), "failed", "two lines"),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (AssertionError(), "failed", "AssertionError: "),
        (NotOffered("not today"), "skipped", "not today"),
        (PluginError("x" * 9999), "failed", "x" * DETAIL + " ..."),
    ],
)
def test_an_error_is_one_line_and_stops_nothing(error, state, detail):
    found = list(run("masker/own", {"first": raises(error), "second": lambda: None}))
    assert found == [Check("masker/own", "first", state, detail), Check("masker/own", "second", "passed")]
    assert "\n" not in str(found[0])


def test_an_interrupt_is_no_failed_check():
    with pytest.raises(KeyboardInterrupt):
        list(run("masker/own", {"first": raises(KeyboardInterrupt())}))


def test_require():
    require(True, "is not said")
    with pytest.raises(PluginError, match="is said"):
        require(False, "is said")
