"""Field descriptions, read from the strings below fields in the source. Torch-free.

pydantic can read them too, but does so when each class is made. That costs more than all else in loading the
plugins, and few commands show a description; here the source is parsed when the first one is asked for.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import final

from pydantic import BaseModel


def description(cls: type[BaseModel], field: str) -> str:
    """What describes `field` of `cls`; "" if nothing does."""
    return descriptions(cls).get(field, "")


@cache
def descriptions(cls: type[BaseModel]) -> Mapping[str, str]:
    """Every field of `cls` with its `Field(description=...)`, or else the string below it, in `cls` or a base.

    "" for a field with neither, and where the source cannot be read, as in an interactive interpreter.
    """
    below: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            below |= _classes(*_source(base)).get(base.__qualname__, {})
    return {name: info.description or below.get(name, "") for name, info in cls.model_fields.items()}


def _source(cls: type) -> tuple[str, str]:
    """The file that defines `cls`, and the name of its module."""
    # a notebook's cells are files of their own, which only the code compiled from them names
    for value in vars(cls).values():
        if isinstance(value, FunctionType) and value.__qualname__ == f"{cls.__qualname__}.{value.__name__}":
            return inspect.unwrap(value).__code__.co_filename, cls.__module__
    return getattr(sys.modules.get(cls.__module__), "__file__", None) or "", cls.__module__


@cache
def _classes(file: str, module: str) -> Mapping[str, Mapping[str, str]]:
    """Qualified name -> field -> description, of every class in `file`."""
    lines = linecache.getlines(file, getattr(sys.modules.get(module), "__dict__", None))
    reader = _Reader()
    try:
        reader.visit(ast.parse("".join(lines)))
    except SyntaxError:  # it has changed since it was imported
        return {}
    return reader.classes


@final
class _Reader(ast.NodeVisitor):
    """Collects the annotated names in the body of every class, each with the string that follows it."""

    def __init__(self) -> None:
        self.classes: dict[str, dict[str, str]] = {}
        self._outer: tuple[str, ...] = ()
        self._below: ast.stmt | None = None
        """What follows the statement that is read, where that stands in the body of a class."""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        with self._inside(node.name):
            self.classes[".".join(self._outer)] = {}
            for statement, below in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
                self._below = below
                self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        with self._inside(node.name, "<locals>"):
            self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._below is not None:
            text = ast.get_docstring(ast.Module([self._below], []))
            self.classes[".".join(self._outer)][ast.unparse(node.target)] = text or ""

    def generic_visit(self, node: ast.AST) -> None:
        """Only statements hold classes."""
        self._below = None
        for block in ("body", "orelse", "handlers", "finalbody", "cases"):
            for statement in getattr(node, block, ()):
                self.visit(statement)

    @contextmanager
    def _inside(self, *names: str) -> Iterator[None]:
        outer = self._outer
        self._outer = (*outer, *names)
        yield
        self._outer, self._below = outer, None
