"""Outcomes of the kit's checks."""

from __future__ import annotations

from sslkit.testing.kit_report import Checks, run


def unmet(checks: Checks, *names: str) -> list[str]:
    """`name: why` of each of the checks called `names` that does not pass."""
    outcomes = run("it", {name: checks[name] for name in names})
    return [f"{check.name}: {check.detail}" for check in outcomes if check.state != "passed"]
