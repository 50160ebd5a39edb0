"""The budgets of the design: sizes, classes, annotations, docstrings, and tests beside them."""

from __future__ import annotations

import ast
import inspect
import re
from abc import ABC
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from pathlib import Path
from statistics import median, quantiles
from typing import is_typeddict

import pytest

from tests.test_layers import MODULES, ROOT

Function = ast.FunctionDef | ast.AsyncFunctionDef
LINES = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}

DIALECT = frozenset({"found", "made", "said", "told", "own", "known", "given", "chosen"})
"""Words that stand for anything: a variable is called what it holds."""


def own_classes() -> Iterator[type]:
    """Every class that the core and the plugin packages define at the top level of a module."""
    for module in MODULES:
        if module == "sslkit.__main__":
            continue
        for item in vars(import_module(module)).values():
            if inspect.isclass(item) and item.__module__ == module and "[" not in item.__name__:
                yield item


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def public(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef | Function]]:
    """Public classes and functions of a module and of its public classes."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield node.name, node
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, Function) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def overrides(module: str, name: str) -> bool:
    """Whether `Class.method` stands in a base class too: then the base says what it is for."""
    owner, _, method = name.partition(".")
    if not method:
        return False
    cls = getattr(import_module(module), owner)
    return any(method in vars(base) for base in cls.__mro__[1:])


def bare_arguments(node: Function) -> list[str]:
    """Arguments without an annotation, and `return` where that is missing."""
    every = [
        *node.args.posonlyargs,
        *node.args.args,
        *node.args.kwonlyargs,
        node.args.vararg,
        node.args.kwarg,
    ]
    bare = [a.arg for a in every if a and a.annotation is None and a.arg not in {"self", "cls"}]
    return bare + ([] if node.returns else ["return"])


def test_files_are_short() -> None:
    assert {module: lines for module, lines in LINES.items() if lines > 400} == {}
    assert median(lines for lines in LINES.values() if lines > 5) <= 150


def test_functions_are_short() -> None:
    lengths = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, Function)
    }
    assert {name: length for name, length in lengths.items() if length > 80} == {}
    assert median(lengths.values()) <= 12
    assert quantiles(lengths.values(), n=10)[-1] <= 35


def is_settled(cls: type) -> bool:
    """Whether `cls` is abstract, final, or what it is: a record or an error."""
    abstract = inspect.isabstract(cls) or ABC in cls.__bases__ or getattr(cls, "_is_protocol", False)
    record = issubclass(cls, tuple | BaseException) or is_typeddict(cls)
    return bool(abstract or record or getattr(cls, "__final__", False))


def test_every_class_is_abstract_or_final() -> None:
    unsettled = [f"{cls.__module__}.{cls.__name__}" for cls in own_classes() if not is_settled(cls)]
    assert unsettled == [], "derive from ABC, or decorate with @final"


def test_inheritance_is_at_most_two_deep() -> None:
    deep = {}
    for cls in own_classes():
        bases = [base.__name__ for base in cls.__mro__[1:] if base.__module__ in MODULES]
        if len(bases) > 2:
            deep[f"{cls.__module__}.{cls.__name__}"] = bases
    assert deep == {}


def undocumented(module: str) -> Iterator[str]:
    """Public names of `module`, and itself, that lack a docstring or annotations."""
    if not ast.get_docstring(tree_of(module)):
        yield f"{module} has no docstring"
    for name, node in public(tree_of(module)):
        if not (ast.get_docstring(node) or overrides(module, name)):
            yield f"{module}.{name} has no docstring"
        if isinstance(node, Function) and bare_arguments(node):
            yield f"{module}.{name} lacks annotations of {bare_arguments(node)}"


def test_every_public_name_is_documented_and_annotated() -> None:
    assert [line for module in MODULES for line in undocumented(module)] == []


def test_a_base_class_speaks_for_its_overrides() -> None:
    assert overrides("sslkit.core.system", "System.forward")
    assert not overrides("sslkit.core.system", "System")
    assert not overrides("sslkit.core.backbone", "Backbone.encode")


def variables(tree: ast.AST) -> Iterator[str]:
    """Names that are assigned, loop targets, parameters, and attributes that a class sets on itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name


def test_what_a_variable_is() -> None:
    text = """def f(a, *b):
    for c in [d for d in a]:
        self.e = self.no
    with no() as f:
        g: int = 0
    try:
        h = no.no
    except no as i:
        pass
"""
    assert sorted(variables(ast.parse(text))) == list("abcdefghi")


def test_variables_are_called_what_they_hold() -> None:
    names = ((module, name) for module in MODULES for name in variables(tree_of(module)))
    assert [(module, name) for module, name in names if name.strip("_") in DIALECT] == []


def test_no_rule_is_silenced_often() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in MODULES.values())
    rules = Counter(
        rule for codes in re.findall(r"# noqa: ([A-Z0-9, ]+)", text) for rule in re.findall(r"\w+", codes)
    )
    assert {rule: count for rule, count in rules.items() if count > 10} == {}


def test_any_is_rare() -> None:
    mentions = sum(len(re.findall(r"\bAny\b", path.read_text(encoding="utf-8"))) for path in MODULES.values())
    assert 1000 * mentions / sum(LINES.values()) <= 4, f"{mentions} times in {sum(LINES.values())} lines"


def type_tests(tree: ast.AST) -> Iterator[ast.AST]:
    """Where a value is asked what it is: `isinstance`, `type(x) is C`, `type(x) == C`, and `case C():`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.MatchClass):
            yield node
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                yield node
        elif isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                if isinstance(side, ast.Call) and isinstance(side.func, ast.Name) and side.func.id == "type":
                    yield node
                    break


def test_what_a_type_test_is() -> None:
    text = """
isinstance(a, B) and isinstance(c, D)
type(a) is B or type(a) == type(c) or type(a) in (B, D)
match a:
    case B(): pass
    case D(e=F()): pass
    case 1 | "g": pass
type(a).__name__ == "B"
issubclass(B, D)
"""
    assert len(list(type_tests(ast.parse(text)))) == 8


def test_values_are_rarely_asked_what_they_are() -> None:
    counts = {module: sum(1 for _ in type_tests(tree_of(module))) for module in MODULES}
    total = sum(counts.values())
    most = sorted(counts, key=counts.__getitem__)[-8:]
    assert 1000 * total / sum(LINES.values()) <= 4, f"{total} times, most in {', '.join(most)}"


def test_a_training_step_asks_no_value_what_it_is() -> None:
    loop = [module for module in MODULES if module.startswith(("sslkit.train.step.", "sslkit.train.trainer"))]
    assert len(loop) > 10
    assert [module for module in loop if any(True for _ in type_tests(tree_of(module)))] == []


def test_there_are_more_lines_of_tests_than_of_source() -> None:
    tests = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "tests").rglob("*.py"))
    assert tests >= 1.14 * sum(LINES.values()), f"{tests} lines of tests for {sum(LINES.values())} of source"


ASSERTS = re.compile(r"\bassert |\bpytest\.(raises|warns|fail)\(|\.assert_(close|allclose|array_equal)\(")


def test_every_test_asserts_in_its_own_body() -> None:
    """What it holds is then read where it stands. Text is searched, as parsing all tests takes seconds."""
    bare, seen = [], 0
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for part in re.split(
            r"^(?=def |async def |class |@)", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        ):
            name, _, body = part.removeprefix("def ").partition("(")
            if part.startswith("def test_"):
                seen += 1
                bare += [] if ASSERTS.search(body) else [f"{path.relative_to(ROOT)}: {name}"]
    assert seen > 3500
    assert bare == []


def test_nothing_is_left_unfinished() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "NotImplemented" + "Error")
    everything = [*MODULES.values(), *(ROOT / "tests").rglob("*.py")]
    found = {
        f"{path.relative_to(ROOT)}: {mark}"
        for path in everything
        for mark in marks
        if mark in Path(path).read_text()
    }
    assert found == set()


def test_pytest_looks_into_every_folder_that_holds_tests(pytestconfig: pytest.Config) -> None:
    """By itself it leaves out some names, `build` among them."""
    left_out = pytestconfig.getini("norecursedirs")
    files = (ROOT / "tests").rglob("test_*.py")
    folders = {part for file in files for part in file.relative_to(ROOT).parts[:-1]}
    assert [f for f in folders if any(fnmatch(f, pattern) for pattern in left_out)] == []
