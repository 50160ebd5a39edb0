"""The plugins of this process, loaded anew from what a test installs and from what its environment says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import invalidate_caches
from typing import NamedTuple

import pytest

from sslkit.registry.manager import registry


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]
"""Words of a command, and environment variables by name."""


@contextmanager
def plugins_of(**variables: str) -> Iterator[None]:
    """This process's plugins are loaded anew inside, by these environment variables, and forgotten afterwards."""
    invalidate_caches()
    registry.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
    registry.cache_clear()
