"""Every hook stands in the docs with its exact signature, and has a test."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit.registry import hookspecs

ROOT = Path(__file__).resolve().parent.parent
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("sslkit_")}


@pytest.mark.parametrize(("name", "hook"), HOOKS.items())
def test_a_hook_is_documented_with_its_signature_and_says_when_it_is_called(
    name: str, hook: Callable[..., object]
) -> None:
    assert "\n" in inspect.getdoc(hook), "a line on what to return, then when it is called"  # type: ignore[operator]
    signature = str(inspect.signature(hook)).replace("'", "")
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert f"def {name}{signature}:" in page, f"docs/plugins.md lacks  def {name}{signature}:"


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_a_test(name: str) -> None:
    tests = (ROOT / "tests" / "registry").glob("test_*.py")
    assert any(name in path.read_text(encoding="utf-8") for path in tests)


def test_hooks_are_marked_as_such() -> None:
    assert "sslkit_specs" in HOOKS
    assert all(hasattr(hook, "sslkit_spec") for hook in HOOKS.values()), "decorate with @hookspec"
