"""Views and nets of queries and keys."""

from __future__ import annotations

from typing import NamedTuple

from sslkit.interfaces import Encode, Mode
from sslkit.plugin import MaskerSpec


class Sides(NamedTuple):
    """Where queries and keys come from."""

    view: str
    key_view: str | None
    """View that keys are taken from instead of other crops of `view`."""
    masker: MaskerSpec | None
    """What hides patches from the student."""
    mode: Mode
    """How a pass with a masker meets hidden patches."""
    net: str
    """Net that makes keys: the student, or a moving average."""

    @property
    def views(self) -> tuple[str, ...]:
        """The one of queries, and that of keys where it is another."""
        return (self.view,) if self.key_view is None else (self.view, self.key_view)

    @property
    def passes(self) -> tuple[Encode, ...]:
        """The student's, and the last one that of the net that makes keys."""
        if self.net == "student":
            return tuple(self._seen(view) for view in self.views)
        return self._seen(self.view), Encode(self.views[-1], net=self.net)

    def _seen(self, view: str) -> Encode:
        """The student's pass on `view`."""
        return Encode(view) if self.masker is None else Encode(view, mask=self.masker, mode=self.mode)
