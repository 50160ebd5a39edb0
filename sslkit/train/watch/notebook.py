"""An updating line of a notebook's output, by IPython's display, without widgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, final


class Handle(Protocol):
    """IPython's reference to an output."""

    def update(self, content: Mapping[str, str], *, raw: bool) -> None:
        """Replace the output."""


@final
class UpdatingLine:
    """Shows one text after another in one place of the cell that ran when the first was shown."""

    def __init__(self) -> None:
        self._display: Callable[..., Handle] = import_module("IPython.display").display
        self._handle: Handle | None = None

    def show(self, text: str) -> None:
        """Put `text` in place of what was shown before."""
        content = {"text/plain": text}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
