"""Fixtures of the tests of plugins: what they install, and commands that load it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sslkit.cli.main import main
from sslkit.registry.manager import registry
from tests.registry.plugins_anew import Command, Done, plugins_of
from tests.registry.test_manager import forget


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path` for distributions; this process's plugins are loaded anew before and after."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    registry.cache_clear()
    yield folder
    registry.cache_clear()
    forget(folder)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`sslkit` in this process, with its plugins loaded anew."""

    def run(*words: str, **variables: str) -> Done:
        with plugins_of(**variables):
            code = main(words)
        return Done(code, *capsys.readouterr())

    return run
