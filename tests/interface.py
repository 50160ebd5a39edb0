"""What plugin authors may rely on, as text: the names of the doors, their signatures, methods, attributes and fields.

Read from the source, so it is the same in every version of Python, and neither torch nor a plugin is imported.
`python -m tests.interface` writes it to tests/interface.txt.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).with_name("interface.txt")
DOORS = ("plugin", "interfaces", "testing")
HIDDEN = ("__pydantic", "__get_pydantic", "model_config", "model_post_init", "__hash__")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Definition(NamedTuple):
    """Where a name is defined, and what it is there; None for a module."""

    module: str
    node: ast.stmt | None
    documented: bool


@cache
def tree(module: str) -> ast.Module:
    """The source of a module of sslkit."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(module: str) -> dict[str, str]:
    """Name -> the module of sslkit that it is imported from; those for type checkers too."""
    froms = [node for node in ast.walk(tree(module)) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        a.asname or a.name: str(n.module)
        for n in froms
        if str(n.module).startswith("sslkit")
        for a in n.names
    }


def definition(module: str, name: str) -> Definition:
    """The definition of what `module` calls `name`, wherever it comes from."""
    body = tree(module).body
    for i, node in enumerate(body):
        if isinstance(node, ast.ClassDef | Function) and node.name == name:
            return Definition(module, node, bool(ast.get_docstring(node)))
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in _targets(node):
            after = body[i + 1] if i + 1 < len(body) else None
            return Definition(
                module, node, isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            )
    origin = imported(module).get(name)
    if origin is None:
        raise LookupError(f"{module} has no {name}")
    if ROOT.joinpath(*origin.split("."), f"{name}.py").is_file():
        return Definition(f"{origin}.{name}", None, bool(ast.get_docstring(tree(f"{origin}.{name}"))))
    return definition(origin, name)


def exported(door: str) -> list[str]:
    """The names of a door's `__all__`."""
    lists = [
        node.value
        for node in tree(f"sslkit.{door}").body
        if isinstance(node, ast.Assign | ast.AugAssign) and "__all__" in ast.unparse(node).split("=")[0]
    ]
    return [name for value in lists for name in ast.literal_eval(value)]


def lines() -> Iterator[str]:
    """The interface, a line for each thing that can be relied on."""
    listed = {name for door in DOORS for name in exported(door)}
    for door in DOORS:
        yield f"sslkit.{door}"
        for name in sorted(exported(door)):
            yield from (
                f"    {line}" for line in _described(name, definition(f"sslkit.{door}", name), listed)
            )
        yield ""


def _described(name: str, what: Definition, listed: set[str]) -> Iterator[str]:
    node = what.node
    if node is None:
        yield f"module {name}"
        functions = [part for part in tree(what.module).body if isinstance(part, Function)]
        yield from (f"    {_signature(part)}" for part in functions if part.name[0] != "_")
    elif isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        yield f"class {name}({bases})" if bases else f"class {name}"
        yield from (f"    {line}" for line in sorted(_members(what, listed).values()))
    elif isinstance(node, Function):
        yield _signature(node)
    else:
        yield f"{name} = {_value(node)}"


def _members(what: Definition, listed: set[str]) -> dict[str, str]:
    """Of a class, and of those of its bases in sslkit that have no entry of their own."""
    assert isinstance(what.node, ast.ClassDef)
    members: dict[str, str] = {}
    for base in map(ast.unparse, reversed(what.node.bases)):
        if base not in listed and base in {*imported(what.module), *_classes(what.module)}:
            members |= _members(definition(what.module, base), listed)
    for node in what.node.body:
        if isinstance(node, Function):
            members[node.name] = _signature(node)
        elif isinstance(node, ast.AnnAssign):
            default = f" = {ast.unparse(node.value)}" if node.value else ""
            members[ast.unparse(node.target)] = (
                f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}{default}"
            )
        elif isinstance(node, ast.Assign):
            members |= {name: f"{name} = {ast.unparse(node.value)}" for name in _targets(node)}
    return {name: line for name, line in members.items() if _is_public(name)}


def _is_public(name: str) -> bool:
    return (name[0] != "_" or name.startswith("__")) and not name.startswith(HIDDEN)


def _classes(module: str) -> set[str]:
    return {node.name for node in tree(module).body if isinstance(node, ast.ClassDef)}


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def _signature(node: Function) -> str:
    marks = [ast.unparse(mark).split(".")[-1] for mark in node.decorator_list]
    shown = "".join(f"{mark} " for mark in marks if not mark.startswith("wraps"))
    return f"{shown}{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns) if node.returns else '?'}"


def _value(node: ast.stmt) -> str:
    """What a constant or an alias is; of calls only that they are."""
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    return ast.unparse(node.value) if node.value is not None else "?"


def text() -> str:
    """The whole list."""
    return "\n".join(lines())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
