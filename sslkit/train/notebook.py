"""An updating line of a notebook's output, by IPython's display, without widgets."""

from __future__ import annotations

from importlib import import_module
from typing import Any, final


@final
class UpdatingLine:
    """Shows one text after another in one place of the cell that ran when the first was shown."""

    def __init__(self) -> None:
        self._display: Any = import_module("IPython.display").display
        self._handle: Any = None

    def show(self, text: str) -> None:
        """Put `text` in place of what was shown before."""
        content = {"text/plain": text}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
