"""Who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

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
}

LIGHT = {"errors", "catalog", "spec", "registry", "cli"}
"""Layers whose modules import nothing heavy until a function runs."""
ALLOWED = {
    "errors": set(),
    "catalog": {"errors"},
    "spec": {"errors", "catalog", "spec"},
    "registry": {"errors", "catalog", "spec", "registry"},
    "core": {"errors", "spec", "core"},
    "functional": {"errors", "functional"},
    "nn": {"errors", "functional", "core", "nn"},
    "train": {"errors", "spec", "registry", "core", "functional", "nn", "train", "evaluate"},
    "evaluate": {"errors", "spec", "registry", "core", "functional", "nn", "train", "evaluate"},
}
"""Layer -> layers of `sslkit` that it may import, functions included. `cli`, `api`, `testing` take all."""


def sources() -> dict[str, Path]:
    """Every module of the core and the plugin packages, by its dotted name."""
    folders = [(ROOT, ROOT / "sslkit"), *((ROOT / "plugins", ROOT / "plugins" / name) for name in PLUGINS)]
    found = {}
    for base, folder in folders:
        for path in folder.rglob("*.py"):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = sources()


def statements(node: ast.AST, deep: bool) -> Iterator[ast.AST]:
    """Statements that run, without those for type checkers; `deep` enters functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (s for part in child.orelse for s in [part, *statements(part, deep)])
        elif deep or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from statements(child, deep)


def imports(module: str, deep: bool) -> set[str]:
    """Modules that `module` imports; `from a import b` counts as `a.b` where that is a module."""
    found = set()
    for node in statements(ast.parse(MODULES[module].read_text(encoding="utf-8")), deep):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found


def layer(module: str) -> str:
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    package, found = module.split(".")[0], imports(module, deep=True)
    outside = {name for name in found if name.split(".")[0] in PLUGINS and name.split(".")[0] != package}
    assert not outside, f"{module} imports a plugin package: {outside}"
    if package == "sslkit" and layer(module) in ALLOWED:
        wrong = {n for n in found if n.split(".")[0] == "sslkit" and layer(n) not in ALLOWED[layer(module)]}
        wrong -= {"sslkit"}  # for `sslkit.__version__`
        assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize(
    "module", [m for m in MODULES if layer(m) in LIGHT or m == "sslkit" or m.endswith(".plugin")]
)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    heavy = {name for name in imports(module, deep=False) if name.split(".")[0] in HEAVY}
    assert not heavy, f"{module} imports {heavy} at its top level"


def test_no_cycles() -> None:
    graph = {module: imports(module, deep=False) & set(MODULES) for module in MODULES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle
    assert set(order) == set(MODULES)


def test_there_is_something_to_hold() -> None:
    assert len(PLUGINS) >= 8
    assert imports("sslkit.specs.load", deep=False) >= {"sslkit.errors", "sslkit.specs.run", "yaml"}
    assert "sslkit.core.masker" not in imports("sslkit.specs.families", deep=True), "only for type checkers"
    assert "torch" in imports("sslkit.core.random_stream", deep=False)
    assert "sslkit.specs.error_text" in imports("sslkit.specs.base", deep=True) - imports(
        "sslkit.specs.base", deep=False
    )


@pytest.mark.parametrize(
    "module",
    [
        "sslkit.cli.main",
        "sslkit.specs.load",
        "sslkit.registry.manager",
        *(f"{name}.plugin" for name in PLUGINS),
    ],
)
def test_importing_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
