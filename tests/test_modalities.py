"""The core knows streams and types of streams, and no type by its name: what is of one is a plugin's."""

from __future__ import annotations

import ast
import re

import pytest

from tests.test_layers import MODULES

WORDS = re.compile(r"image|text|token|audio|sound|video|speech|word|caption|symbol", re.IGNORECASE)
KINDS = ("type", "takes", "gives", "stream", "type_in", "stream_in")
"""Attributes and functions that tell a type or a stream."""


def named(node: ast.expr) -> str:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Call(func=inner):
            return named(inner)
    return ""


def says(node: ast.expr) -> bool:
    """Whether a type or stream stands in it by name."""
    inner = list(ast.walk(node))
    constants = [part.value for part in inner if isinstance(part, ast.Constant)]
    names = [part.id for part in inner if isinstance(part, ast.Name)]
    return "IMAGE" in names or any(isinstance(x, str) and WORDS.search(x) for x in constants)


def branches(tree: ast.AST) -> list[int]:
    """Lines that compare a type or a stream with a word, or choose by it."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(named(side) in KINDS for side in sides) and any(says(side) for side in sides):
                lines.append(node.lineno)
        elif isinstance(node, ast.Match) and named(node.subject) in KINDS:
            lines.append(node.lineno)
    return lines


def test_no_branch_on_a_modality_stands_in_the_core() -> None:
    lines = {
        module: branches(ast.parse(path.read_text(encoding="utf-8")))
        for module, path in MODULES.items()
        if module.startswith("sslkit.")
    }
    assert {module: places for module, places in lines.items() if places} == {}


@pytest.mark.parametrize(
    "text",
    [
        'x = view.type == "text"',
        'if net.takes in ("audio", "image"): pass',
        "if view.type != IMAGE: pass",
        "match stream:\n  case 1: pass",
    ],
)
def test_the_rule_finds_a_branch(text: str) -> None:
    assert branches(ast.parse(text)) == [1]
    assert branches(ast.parse("x = view.type == net.takes or device.type == 'cpu'")) == []
