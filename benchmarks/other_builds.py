"""Builds of this repository beside each other: a process each, which works while the others wait."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
THIS = "this build"
READY = "ready"


def first_of(name: str, *modules: str) -> Any:
    """What the first of `modules` that exists calls `name`: rooms have moved since the first commits.

    Raises:
        SystemExit: none of them exists.
    """
    for module in modules:
        with contextlib.suppress(ModuleNotFoundError):
            return getattr(import_module(module), name)
    raise SystemExit(f"no {name} in {', '.join(modules)}")


@contextlib.contextmanager
def builds(commit: str | None) -> Iterator[dict[str, str]]:
    """Name -> where its packages are: this build, and `commit`, installed into a folder that is removed again."""
    here = {THIS: f"{ROOT}:{ROOT / 'plugins'}"}
    if commit is None:
        yield here
        return
    with tempfile.TemporaryDirectory() as folder:
        tree, installed = Path(folder) / "tree", Path(folder) / "installed"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed)]
            subprocess.run([*pip, str(tree)], check=True)
            yield {**here, commit: str(installed)}
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def answer_turns(work: Callable[[str], Sequence[float]]) -> None:
    """In a side: answer each line of the input with the numbers that `work` has for it, until the input ends."""
    print(READY, flush=True)
    for line in sys.stdin:
        print(*work(line.strip()), flush=True)


class Side:
    """A process that imports one build, ready to work.

    Args:
        script: it is started as `SCRIPT --side NAME WORDS`, and calls `answer_turns`.
        name: of the side.
        packages: what it imports, as `PYTHONPATH`.
        words: further arguments.
    """

    def __init__(self, script: Path, name: str, packages: str, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(script), "--side", name, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": packages},
        )
        self._answer()

    def turn(self, request: str) -> list[float]:
        """The numbers that it has for `request`."""
        assert self._process.stdin is not None
        print(request, file=self._process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """Let it end."""
        self._process.communicate()

    def _answer(self) -> list[float]:
        """The next line of numbers; what the build says besides is passed over."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = line.split()
            if words == [READY]:
                return []
            with contextlib.suppress(ValueError):
                return [float(word) for word in words]
        raise SystemExit(f"a side ended with code {self._process.wait()}")


def rounds(sides: Mapping[str, Side], count: int, request: str) -> dict[str, list[list[float]]]:
    """What each side answers in `count` rounds of turns, A B C, C B A, ...; then they end."""
    answers: dict[str, list[list[float]]] = {name: [] for name in sides}
    for number in range(count):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            answers[name].append(sides[name].turn(request))
    for side in sides.values():
        side.end()
    return answers
