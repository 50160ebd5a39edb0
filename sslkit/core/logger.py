"""Loggers: receivers of metrics, figures and checkpoints besides the run folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path


class Logger(ABC):
    """Receives records while a run goes on."""

    @abstractmethod
    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record `values` of `step`."""

    def figure(self, step: int, name: str, path: Path) -> None:
        """A figure was written to `path`."""

    def saved(self, step: int, path: Path) -> None:
        """A checkpoint was written to `path`."""

    def close(self) -> None:
        """The run ends."""
