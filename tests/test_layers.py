"""Who may import whom: one order of floors, no circles, four doors for plugins; and what modules may be called."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").is_file())
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "faiss",
    "sklearn",
    "matplotlib",
    "pyarrow",
    "PIL",
    "rich",
    "einops",
    "tifffile",
    "pydicom",
    "nibabel",
    "zarr",
    "h5py",
}

FLOORS = [
    "errors",
    "files",
    "statistics",
    "functional",
    "losses",
    "core",
    "catalog",
    "specs",
    "registry",
    "plugin",
    "nn",
    "runtime",
    "data",
    "optim",
    "runs",
    "build",
    "evaluate",
    "interfaces",
    "train",
    "analysis",
    "report",
    "api",
    "testing",
    "cli",
]
"""From the ground up. A module imports its own floor and those below, lazily imported and typing-only ones too."""
LIGHT = {"errors", "files", "catalog", "specs", "registry", "plugin", "cli"}
"""Floors, and parts of plugin packages, whose modules import nothing heavy until a function runs."""
DOORS = ("sslkit.plugin", "sslkit.interfaces", "sslkit.functional", "sslkit.nn")
"""All that a plugin reads of sslkit."""
UPWARD = ("sslkit.specs", "sslkit.specs.run.RunSpec")
"""The one exception, for annotations only: every spec is asked for `problems(run: RunSpec)`, and a `RunSpec` holds
specs of every family, so that neither can stand below the other."""

SAME_STEM = {
    "analysis": "a floor, and the evaluators that measure features and attention",
    "attention": "a kind of evaluator and a kind of masker",
    "hog": "the descriptor, and the target made of it",
    "reconstruction": "a kind of evaluator in the folder of its own",
    "segmentation": "a source of masks, and the evaluators that score them",
    "system": "the modules of a run, and how a spec becomes them",
}
"""Stem of several modules -> why. Beside these, a module of `cli` or `specs` may be called as what it is about."""


class Import(NamedTuple):
    """One name that a module imports."""

    module: str
    """`a.b` of `from a import b` where that is a module, else `a`."""
    name: str
    """`a.b` in any case."""
    typing_only: bool
    deep: bool
    """Inside a function."""


def sources() -> dict[str, Path]:
    """Every module of the core and the plugin packages, by its dotted name."""
    folders = [(ROOT, ROOT / "sslkit"), *((ROOT / "plugins", ROOT / "plugins" / name) for name in PLUGINS)]
    modules = {}
    for base, folder in folders:
        for path in folder.rglob("*.py"):
            parts = path.relative_to(base).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = sources()


def statements(node: ast.AST, typing_only: bool, deep: bool) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Every statement below `node`, whether it is for type checkers only, and whether inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield part, True, deep
                yield from statements(part, True, deep)
            for part in child.orelse:
                yield part, typing_only, deep
                yield from statements(part, typing_only, deep)
        else:
            yield child, typing_only, deep
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from statements(child, typing_only, deep or inside)


@cache
def imports(module: str) -> tuple[Import, ...]:
    """Everything that `module` imports."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    each = []
    for node, typing_only, deep in statements(tree, typing_only=False, deep=False):
        if isinstance(node, ast.Import):
            each += [Import(alias.name, alias.name, typing_only, deep) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                each.append(Import(name if name in MODULES else str(node.module), name, typing_only, deep))
    return tuple(each)


def is_exception(module: str, imported: Import) -> bool:
    floor, name = UPWARD
    return module.startswith(f"{floor}.") and imported.name == name and imported.typing_only


@cache
def graph() -> dict[str, set[str]]:
    """Module -> modules of the house that it imports, but for the one exception."""
    return {
        module: {i.module for i in imports(module) if i.module in MODULES and not is_exception(module, i)}
        - {module}
        for module in MODULES
    }


def floor_of(module: str) -> str:
    """The folder or module right below the package; nothing of the package itself."""
    return [*module.split("."), ""][1]


def top(module: str) -> set[str]:
    """What runs when `module` is imported."""
    return {i.module for i in imports(module) if not i.deep and not i.typing_only}


IN_SSLKIT = [m for m in MODULES if floor_of(m) not in ("", "__main__") and m.startswith("sslkit.")]
IN_PLUGINS = [m for m in MODULES if m.split(".")[0] in PLUGINS]


def test_a_module_imports_its_own_floor_and_those_below() -> None:
    assert [line for module in IN_SSLKIT for line in out_of_order(module)] == []


def out_of_order(module: str) -> Iterator[str]:
    """What `module` imports and may not."""
    height = FLOORS.index(floor_of(module))
    names = {name for name in graph()[module] if name != "sslkit"}  # for `sslkit.__version__`
    if plugins := {i.module for i in imports(module) if i.module.split(".")[0] in PLUGINS}:
        yield f"{module} imports a plugin package: {plugins}"
    if above := {name for name in names if FLOORS.index(floor_of(name)) > height}:
        yield f"{module} stands on {floor_of(module)!r} and imports {above}"


def test_plugins_read_the_doors_and_no_other_plugin() -> None:
    assert [line for module in IN_PLUGINS for line in past_the_doors(module)] == []


def past_the_doors(module: str) -> Iterator[str]:
    """What `module` of a plugin imports and may not."""
    package = module.split(".")[0]
    names = {i.module for i in imports(module)}
    if others := {name for name in names if name.split(".")[0] in PLUGINS and name.split(".")[0] != package}:
        yield f"{module} imports another plugin package: {others}"
    if inner := {name for name in names if name.startswith("sslkit.") and not is_door(name)}:
        yield f"{module} imports {inner}; plugins read {', '.join(DOORS)} and nothing else of sslkit"


def is_door(name: str) -> bool:
    return any(name == door or name.startswith(f"{door}.") for door in DOORS)


@pytest.mark.parametrize("package", ["sslkit", *PLUGINS])
def test_there_are_no_circles(package: str) -> None:
    """Lazily imported and typing-only modules count."""
    modules = {module: names for module, names in graph().items() if module.split(".")[0] == package}
    assert modules, "nothing to hold"
    circle = circle_in(modules)
    assert not circle, f"a circle: {' -> '.join(circle)}"


def circle_in(modules: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle, the first of them twice; empty where there is none."""
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_the_exception_is_for_annotations_of_specs_only() -> None:
    floor, name = UPWARD
    users = [m for m in MODULES for i in imports(m) if is_exception(m, i)]
    assert len(users) >= 5, "no longer needed: the exception can go"
    assert not is_exception(f"{floor}.base", Import("sslkit.specs.run", name, typing_only=False, deep=True))
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}), "circles are seen"
    assert not is_exception("sslkit.core.passes", Import("sslkit.specs.run", name, True, False))


def test_a_stem_names_one_module() -> None:
    modules = defaultdict(set)
    for module in MODULES:
        stem = module.rsplit(".", 1)[-1]
        if stem not in {"plugin", "specs"}:  # one of each in every plugin package
            modules[stem].add(module)
    twice = {stem: names for stem, names in modules.items() if len(names) > 1}
    unlisted = {stem: names for stem, names in twice.items() if len(names - about_others(names)) > 1}
    assert set(unlisted) == set(SAME_STEM), f"{unlisted}: a list that says more than there is, or less"


def about_others(names: set[str]) -> set[str]:
    """The commands among `names`, and the specs of what others of `names` are."""
    return {name for name in names if {"cli", "specs"} & set(name.split(".")[:-1])}


def test_light_modules_import_nothing_heavy() -> None:
    light = [m for m in MODULES if floor_of(m) in LIGHT or m == "sslkit" or m.endswith(".plugin")]
    heavy = {m: {name for name in top(m) if name.split(".")[0] in HEAVY} for m in light}
    assert {module: names for module, names in heavy.items() if names} == {}


def test_there_is_something_to_hold() -> None:
    assert len(PLUGINS) >= 8
    assert {floor_of(module) for module in IN_SSLKIT} == set(FLOORS)
    assert top("sslkit.specs.load") >= {"sslkit.errors", "sslkit.specs.run", "yaml"}
    assert "sslkit.core.masker" not in top("sslkit.specs.families"), "only for type checkers"
    assert "sslkit.core.masker" in graph()["sslkit.specs.families"]
    assert "torch" in top("sslkit.core.random_stream")
    module = "sslkit_maskers.specs.unguided"
    lazily = {i.module for i in imports(module) if i.deep}
    assert "sslkit_maskers.unguided.random" in lazily & graph()[module] - top(module)


@pytest.mark.parametrize(
    "module",
    [
        "sslkit.cli.main",
        "sslkit.plugin",
        "sslkit.specs.load",
        "sslkit.registry.manager",
        *(f"{name}.plugin" for name in PLUGINS),
    ],
)
def test_importing_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_contributing_says_the_same_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    order = text.partition("held by `tests/test_layers.py`):")[2].partition("Plugin packages")[0]
    assert re.findall(r"`(\w+)`", order) == FLOORS
    light = text.partition("never each other.")[2].partition("import no torch")[0]
    assert set(re.findall(r"`(\w+)`", light)) == LIGHT
