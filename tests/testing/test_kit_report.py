"""Checks are run to the end, whatever they raise; one cause is told once, and what is expected is held to."""

from __future__ import annotations

import runpy

import pytest

from sslkit.errors import PluginError, SpecError
from sslkit.testing.kit_report import DETAIL, STRICT, Check, NotOffered, Report, require, run


def raises(error):
    def check():
        raise error

    return check


def passes():
    """A check that holds."""


@pytest.mark.parametrize(
    ("error", "state", "detail"),
    [
        (PluginError("two\n  lines"), "failed", "two lines"),
        (SpecError("mask: no"), "failed", "mask: no"),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero (in test_kit_report.py, line "),
        (AssertionError(), "failed", "AssertionError: "),
        (NotOffered("not today"), "skipped", "not today"),
        (PluginError("x" * 9999), "failed", "x" * DETAIL + " ..."),
    ],
)
def test_an_error_is_one_line_and_stops_nothing(error, state, detail):
    first, second = run("masker/own", {"first": raises(error), "second": passes})
    assert first[:3] == ("masker/own", "first", state)
    assert first.detail.startswith(detail)
    assert second == Check("masker/own", "second", "passed")
    assert "\n" not in str(first)


def test_a_plugin_may_lie_in_a_folder_called_as_a_package_is(tmp_path):
    path = tmp_path / "sslkit" / "torch" / "broken.py"
    path.parent.mkdir(parents=True)
    path.write_text("def check():\n    1 / 0\n")
    names = runpy.run_path(str(path))
    assert next(run("masker/own", {"first": names["check"]})).detail.endswith("(in broken.py, line 2)")


def test_an_interrupt_is_no_failed_check():
    with pytest.raises(KeyboardInterrupt):
        list(run("masker/own", {"first": raises(KeyboardInterrupt())}))


def test_require():
    require(True, "is not said")
    with pytest.raises(PluginError, match="is said"):
        require(False, "is said")


def states(*args):
    return [(check.name, check.state) for check in run("s", *args)]


def test_what_needs_a_failed_check_is_left_out():
    checks = {"fits": passes, "trains": raises(PluginError("no")), "resumes": passes, "draws": passes}
    needs = {"*": "fits", "resumes": "trains"}
    assert states(checks, needs) == [
        ("fits", "passed"), ("trains", "failed"), ("resumes", "skipped"), ("draws", "passed")
    ]  # fmt: skip
    unfit = {**checks, "fits": raises(PluginError("no"))}
    assert [state for _, state in states(unfit, needs)] == ["failed", *["skipped"] * 3]
    *_, last = run("s", unfit, needs)
    assert last.detail == "needs what failed: 'fits'"


def test_what_follows_from_what_was_left_out_is_left_out_too():
    checks = {"a": raises(PluginError("no")), "b": passes, "c": passes}
    assert [state for _, state in states(checks, {"b": "a", "c": "b"})] == ["failed", "skipped", "skipped"]


def test_one_cause_is_told_once():
    checks = {"a": raises(PluginError("cannot be built")), "b": raises(PluginError("cannot be built"))}
    checks["c"] = raises(PluginError("another"))
    first, second, third = run("s", checks)
    assert (first.state, third.state) == ("failed", "failed")
    assert (second.state, second.detail) == ("skipped", "has the cause of a failure: 'a'")


def test_expected_failures_are_strict():
    checks = {"a": raises(PluginError("no")), "b": passes, "c": raises(NotOffered("never")), "d": passes}
    expected = {"a": "hardware", "b": "slow", "c": "none", "e": "gone"}
    a, b, c, d, strict = run("s", checks, None, expected)
    assert a[2:] == ("expected", "hardware (no)")
    assert b[2:] == ("failed", "passes, but `expected_failures` lists it; take it off the list")
    assert c.state == "failed"
    assert "did not run (never)" in c.detail
    assert d.state == "passed"
    assert (strict.name, strict.state) == (STRICT, "failed")
    assert "names 'e', which is no check of this kind" in strict.detail


def test_the_summary_counts_what_ran_what_was_left_out_and_why():
    checks = (
        Check("s", "a", "passed"), Check("s", "b", "failed", "no"), Check("s", "c", "expected", "yes"),
        Check("s", "d", "skipped", "refused: a mode"), Check("s", "e", "skipped", "refused: another"),
        Check("s", "f", "skipped", "no files"),
    )  # fmt: skip
    report = Report("mine", checks)
    assert report.summary == (
        "mine: 3 checks ran, 1 failed (1 more as expected); 3 left out: refused (2), no files (1)"
    )
    assert not report.passed
    assert Report("mine", checks[:1]).summary == "mine: 1 checks ran, none failed; none left out"
    assert Report("mine", (checks[0], checks[2])).passed
