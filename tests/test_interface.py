"""The interface that plugins are written against changes only where somebody sees it."""

from __future__ import annotations

import subprocess
import sys
from difflib import unified_diff

import pytest

from tests import interface
from tests.conftest import ROOT

SLOW = {"matplotlib", "timm", "faiss", "sklearn", "scipy", "pyarrow", "tensorboard", "torchvision"}
DOORS = ("plugin", "interfaces")


def test_the_interface_is_the_one_on_file() -> None:
    before, now = interface.FILE.read_text(encoding="utf-8"), interface.text()
    changes = "\n".join(unified_diff(before.splitlines(), now.splitlines(), "on file", "now", lineterm=""))
    assert not changes, (
        f"{changes}\nwhat goes or changes is deprecated first (docs/stability.md); renew the list by "
        "`python -m tests.interface`"
    )


def test_the_list_tells_signatures_fields_methods_and_defaults() -> None:
    listed = [line.strip() for line in interface.FILE.read_text(encoding="utf-8").splitlines()]
    for line in (
        "class MaskerSpec(Spec)",
        "abstractmethod build(self, env: Env, view: str) -> MaskerModule",
        "abstractmethod forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output",
        "net: str = 'student'",
        "uniform(self, *shape: int, low: float=0.0, high: float=1.0) -> Tensor",
        "API_VERSION = 1",
    ):
        assert line in listed


@pytest.mark.parametrize("door", DOORS)
def test_every_name_is_there_once_and_documented_where_it_is_defined(door: str) -> None:
    names = interface.exported(door)
    assert len(names) == len(set(names)) > 50
    bare = [name for name in names if not interface.definition(f"sslkit.{door}", name).documented]
    assert not bare, f"no docstring in or below {', '.join(bare)}"


def test_no_name_is_exported_by_both_doors() -> None:
    first, second = (set(interface.exported(door)) for door in DOORS)
    assert not first & second


@pytest.mark.parametrize("door", DOORS)
def test_what_a_door_imports_it_exports(door: str) -> None:
    """Nothing comes through by chance."""
    assert set(interface.imported(f"sslkit.{door}")) == set(interface.exported(door)) - {"API_VERSION"}


@pytest.mark.parametrize(("door", "never"), [("plugin", {"torch", "numpy", *SLOW}), ("interfaces", SLOW)])
def test_doors_open_quickly(door: str, never: set[str]) -> None:
    code = f"import sys, sslkit.{door}; print(*sorted({never!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_slow_names_are_there_when_they_are_asked_for() -> None:
    from sslkit import interfaces
    from sslkit.runs.figures import save_pictures

    assert interfaces.save_pictures is save_pictures
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        interfaces.nothing  # noqa: B018


def test_the_page_names_the_version_and_the_list() -> None:
    page = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
    assert "API_VERSION = 1" in interface.text()
    assert "assert API_VERSION == 1" in page
    assert interface.FILE.relative_to(ROOT).as_posix() in page
