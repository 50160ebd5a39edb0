"""`from sslkit import X` works for every public name, and `__init__.pyi` tells editors of each."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import sslkit
from sslkit.registry.manager import registry
from sslkit.specs.families import FAMILIES

STUB = Path(sslkit.__file__).with_suffix(".pyi")
BUILT_IN = {
    cls.__name__: cls
    for family in FAMILIES
    for cls in registry().kinds(family).values()
    if (owner := registry().owner(cls.model_construct())) and owner.name.startswith("sslkit:")
}


def stubbed() -> dict[str, str]:
    """Name -> module that `__init__.pyi` re-exports it from."""
    found = {}
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name, f"{alias.name}: a stub re-exports with `X as X`"
                found[alias.name] = str(node.module)
    return found


def test_the_stub_names_every_public_name_and_nothing_else() -> None:
    assert stubbed() == sslkit._PUBLIC | {name: cls.__module__ for name, cls in BUILT_IN.items()}


def test_no_built_in_hides_a_public_name_or_another_built_in() -> None:
    assert not set(BUILT_IN) & set(sslkit._PUBLIC)
    assert len(BUILT_IN) == sum(len(p.kinds) for p in registry().plugins if p.name.startswith("sslkit:"))


@pytest.mark.parametrize("name", [*sslkit._PUBLIC, *BUILT_IN])
def test_every_public_name_can_be_imported(name: str) -> None:
    module = sslkit._PUBLIC.get(name) or BUILT_IN[name].__module__
    assert getattr(sslkit, name) is getattr(import_module(module), name)
    assert name in dir(sslkit)


def test_specs_come_from_the_package_without_torch() -> None:
    code = f"import sys\nfrom sslkit import RunSpec, {', '.join(BUILT_IN)}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_unknown_names_say_where_to_look() -> None:
    with pytest.raises(
        AttributeError, match=r"no attribute 'Mae'; `sslkit plugins list` shows what is installed"
    ):
        _ = sslkit.Mae  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="_private"):
        _ = sslkit._private  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        exec("from sslkit import Nothing")
