"""Descriptions are the strings below fields, read from the source when the first one is asked for."""

from __future__ import annotations

import linecache
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, Field

from sslkit import RandomMasker
from sslkit.specs.base import Spec
from sslkit.specs.docstrings import description, descriptions
from sslkit.specs.schedule import Ramp

NAME = "made_for_descriptions"


class Base(Spec):
    """A base."""

    size: int = 1
    """Its size,
    in pixels."""
    kept: int = 2

    """Kept as it is."""
    changed: int = 3
    """What it was."""
    bare: int = 4
    bare.__class__  # noqa: B018 -- an expression that is no string
    said: int = Field(5, description="Said in the field.")
    """Said below it."""


class Derived(Base):
    """Takes over the fields of its base, some with another default."""

    changed: int = 30
    size: int = 10
    """Another size."""
    ramp: Ramp = Ramp(start=0, end=1)
    """A field whose schema is a reference."""

    class Inner(Spec):
        """A class inside a class."""

        depth: int = 0
        """How deep."""


class Plain(BaseModel):
    """No spec, but a pydantic model all the same."""

    size: int = 1
    """Below the field."""
    said: int = Field(2, description="Said in the field.")


def test_a_description_is_the_string_below_the_field() -> None:
    assert descriptions(Base) == {
        "size": "Its size,\nin pixels.",
        "kept": "Kept as it is.",
        "changed": "What it was.",
        "bare": "",
        "said": "Said in the field.",
    }
    assert description(RandomMasker, "ratio").startswith("Share of patches to hide")


def test_the_field_s_own_description_comes_first() -> None:
    assert description(Base, "said") == descriptions(Derived)["said"] == "Said in the field."
    assert Base.model_json_schema()["properties"]["said"]["description"] == "Said in the field."


def test_a_field_that_is_written_again_is_described_where_it_is_written_last() -> None:
    assert description(Derived, "size") == "Another size."
    assert description(Derived, "kept") == "Kept as it is."
    assert description(Derived, "changed") == ""


def test_nothing_is_known_of_other_names_and_all_of_other_models() -> None:
    assert description(Base, "sise") == ""
    assert description(Base, "family") == ""
    told_apart = [description(Plain, name) for name in ("size", "said", "sise")]
    assert told_apart == ["Below the field.", "Said in the field.", ""]


def test_the_schema_holds_them_beside_references_too() -> None:
    fields = Derived.model_json_schema()["properties"]
    assert fields["ramp"]["description"] == "A field whose schema is a reference."
    assert "$ref" in fields["ramp"] or "allOf" in fields["ramp"]
    assert fields["size"]["description"] == "Another size."
    assert "description" not in fields["bare"]


def test_classes_inside_others_and_inside_functions_are_told_apart() -> None:
    if Base.model_fields:  # a class may stand below any statement

        class Inner(Spec):
            """Called like the one above."""

            depth: int = 0
            """How deep, here."""

    assert description(Inner, "depth") == "How deep, here."
    assert description(Derived.Inner, "depth") == "How deep."


SOURCE = '''
from sslkit.specs.base import Spec

class Made(Spec):
    """Made from text."""

    size: int = 1
    """Its size."""
    {method}
'''
METHOD = "def summary(self): return 'made'"


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A module without a file, as `__main__` is in a notebook."""
    made = sys.modules[NAME] = ModuleType(NAME)
    yield made
    del sys.modules[NAME]


def run(text: str, module: ModuleType, file: str) -> Any:
    """Run `text` in `module` as code of `file`; return the class that it makes."""
    exec(compile(text, file, "exec"), vars(module))
    return module.Made


def test_a_notebook_s_cell_is_known_by_its_code(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SOURCE.format(method=METHOD)
    entry = (len(text), None, text.splitlines(keepends=True), "<cell 1>")
    monkeypatch.setitem(linecache.cache, "<cell 1>", entry)
    assert description(run(text, module, "<cell 1>"), "size") == "Its size."


@pytest.mark.parametrize("method", [METHOD, ""])
def test_without_its_source_a_spec_works_undescribed(module: ModuleType, method: str) -> None:
    made = run(SOURCE.format(method=method), module, "<string>")
    assert descriptions(made) == {"size": ""}
    assert "description" not in made.model_json_schema()["properties"]["size"]
    assert made(size=3).size == 3


def test_a_file_that_is_broken_since_it_was_imported_describes_nothing(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(linecache.cache, "<cell 2>", (9, None, ["class Made(\n"], "<cell 2>"))
    assert description(run(SOURCE.format(method=METHOD), module, "<cell 2>"), "size") == ""


def test_loading_every_kind_reads_no_source() -> None:
    """Start-up must not grow with the length of the plugins' files."""
    code = """
import linecache
from sslkit.registry.manager import registry
from sslkit.specs.run import RunSpec
RunSpec.model_rebuild()
assert registry().plugins
assert not linecache.cache, list(linecache.cache)
assert RunSpec.model_json_schema()["properties"]["seed"]["description"] == "Seed of everything random."
assert linecache.cache
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
