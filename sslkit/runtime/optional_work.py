"""Optional work, such as drawing and logging: a failure is a warning that names the component."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from sslkit.registry.manager import registry
from sslkit.specs.base import Spec
from sslkit.specs.walk import walk

LONGEST = 300
"""Characters of an error in a warning."""


@contextlib.contextmanager
def optional(what: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Around drawing, logging and the like: an error is no reason to lose a run.

    Args:
        what: the component, as `component` describes it, and what it was asked to do.
        warn: is told the error, in one line.
    """
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())
        shown = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
        warn(f"{what} failed: {type(error).__name__}: {shown}")


def component(spec: Spec) -> str:
    """Kind and plugin of `spec` and of the kinds inside it: `objective 'mae' (plugin x) with target 'pixel' (...)`."""
    parts = [text for _, part in walk(spec) if (text := _named(part)) is not None]
    return " with ".join([parts[0], ", ".join(parts[1:])]) if len(parts) > 1 else "".join(parts)


def _named(spec: Spec) -> str | None:
    """None for parts that no plugin offers."""
    plugin = registry().owner(spec)
    return None if plugin is None else f"{spec.family} {spec.kind_name()!r} (plugin {plugin.name})"
