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
from functools import cache
from types import FunctionType

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
    try:
        return {name: dict(_fields(node.body)) for name, node in _definitions(ast.parse("".join(lines)), "")}
    except SyntaxError:  # it has changed since it was imported
        return {}


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """The classes below `node`, by their qualified names."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.ClassDef():
                yield prefix + child.name, child
                yield from _definitions(child, f"{prefix}{child.name}.")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _definitions(child, f"{prefix}{child.name}.<locals>.")
            case ast.stmt() | ast.ExceptHandler() | ast.match_case():
                yield from _definitions(child, prefix)


def _fields(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Annotated names in the body of a class, each with the string that follows it."""
    for statement, below in zip(body, [*body[1:], ast.Pass()], strict=True):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)
            case ast.AnnAssign(target=ast.Name(id=name)), _:
                yield name, ""
