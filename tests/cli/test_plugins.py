"""`sslkit plugins`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
from pydantic import Field

from sslkit import Ramp
from sslkit.cli import plugins
from sslkit.cli.describe import describe_family, describe_kind, first_line, in_flow_style, type_words
from sslkit.cli.main import OK, USER_ERROR, main
from sslkit.registry.manager import Plugin, registry
from sslkit.specs.families import FAMILIES, AugmentField, MaskerField


def test_list_shows_every_entry_point_and_its_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "list"]) == OK
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["DISTRIBUTION", "VERSION", "ENTRY", "POINT", "KINDS"]
    assert len(rows) == len(registry().plugins)
    assert any(row.split()[:3] == ["sslkit", "0.1.0", "maskers"] and "masker/random" in row for row in rows)


def test_list_shows_what_failed_and_what_is_blocked() -> None:
    rows = list(
        plugins._table(
            [
                Plugin("a:one", "1", (("masker", "x"), ("target", "y"))),
                Plugin("bbb:two", "1.2.3", error="ValueError: no\nreally"),
                Plugin("c:three", "0", blocked="blocked by SSLKIT_BLOCK"),
                Plugin("d:four", "0"),
            ]
        )
    )
    assert rows == [
        "DISTRIBUTION  VERSION  ENTRY POINT  KINDS",
        "a             1        one          masker/x target/y",
        "bbb           1.2.3    two          failed: ValueError: no really",
        "c             0        three        blocked by SSLKIT_BLOCK",
        "d             0        four         -",
    ]


def test_show_describes_the_fields_of_a_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "objective/mae"]) == OK
    out = capsys.readouterr().out
    assert out.startswith("objective/mae, class MAE of sslkit:objectives ")
    assert "\nmasker: masker = {kind: random}\n    Which patches to hide" in out
    assert "\ndecoder.depth: whole number >= 0 = 8\n    Blocks (MAE: 8).\n" in out


def test_show_lists_the_kinds_of_a_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "target"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "target: What to predict about a patch, and how a guess is scored."
    assert any(line.startswith("  pixel ") for line in lines)
    assert lines[-1] == "sslkit plugins show target/KIND shows the fields of one."


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_kind_can_be_described_and_no_field_is_left_without_words(family: str) -> None:
    assert len(list(describe_family(family))) > 1
    for kind in registry().kinds(family):
        text = "\n".join(describe_kind(family, kind))
        assert "typing." not in text
        assert "Annotated" not in text
        assert "PydanticUndefined" not in text


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("maskr", "error: 'maskr' is not a family. Did you mean 'masker'? Known: "),
        ("masker/rnadom", "error: 'rnadom' is not a kind of masker. Did you mean 'random'? Known: "),
    ],
)
def test_show_of_unknown_names(what: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", what]) == USER_ERROR
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "whole number"),
        (float | Ramp, "number or ramp"),
        (str | None, "text"),
        (bool, "true or false"),
        (Path, "path"),
        (MaskerField, "masker"),
        (tuple[AugmentField, ...], "list of augment"),
        (tuple[float, int], "list of 2: number, whole number"),
        (Mapping[str, Annotated[float, Field(ge=0)]], "mapping of names to number"),
        (list[str], "list of text"),
        (Literal["a", "b"], "a | b"),
    ],
)
def test_types_in_words(annotation: object, words: str) -> None:
    assert type_words(annotation) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (0.5, "0.5"),
        ("x", "x"),
        ((1, 2), "[1, 2]"),
        ({"kind": "random", "ratio": 0.5}, "{kind: random, ratio: 0.5}"),
        (Ramp(start=0, end=1), "{end: 1.0, start: 0.0}"),
    ],
)
def test_defaults_as_yaml_would_write_them(value: object, text: str) -> None:
    assert in_flow_style(value) == text


def test_first_line() -> None:
    assert first_line(Ramp).startswith("A value that moves from `start` to `end`")
    assert first_line(type("Bare", (), {"__doc__": None})) == ""


@pytest.mark.parametrize(
    ("words", "module", "function", "expected"),
    [
        (["check", "sslkit-shapes"], "conformance", "main_check", {"distribution": "sslkit-shapes"}),
        (["new", "sslkit-x", "--dir", "d"], "scaffold", "main_new", {"name": "sslkit-x", "dir": Path("d")}),
        (["new", "sslkit-x"], "scaffold", "main_new", {"name": "sslkit-x", "dir": Path()}),
    ],
)
def test_check_and_new_are_handed_to_the_kit(
    words: list[str], module: str, function: str, expected: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[argparse.Namespace] = []
    stand_in = ModuleType(f"sslkit.testing.{module}")
    setattr(stand_in, function, lambda args: seen.append(args) or 4)
    monkeypatch.setitem(sys.modules, "sslkit.testing", ModuleType("sslkit.testing"))
    monkeypatch.setitem(sys.modules, f"sslkit.testing.{module}", stand_in)
    assert main(["plugins", *words]) == 4
    assert expected.items() <= vars(seen[0]).items()
