"""Outcomes of the kit's checks."""

from __future__ import annotations

import pytest

from sslkit.errors import PluginError
from sslkit.specs.base import Spec
from sslkit.testing.families import checks
from sslkit.testing.kit_report import Checks, run


def caught(spec: Spec, check: str) -> str:
    """What the one check of `spec` with `check` in its name says that fails."""
    (failing,) = [test for name, test in checks(spec).items() if check in name]
    with pytest.raises(PluginError) as error:
        failing()
    return str(error.value)


def unmet(checks: Checks, *names: str) -> list[str]:
    """`name: why` of each of the checks called `names` that does not pass."""
    outcomes = run("it", {name: checks[name] for name in names})
    return [f"{check.name}: {check.detail}" for check in outcomes if check.state != "passed"]
