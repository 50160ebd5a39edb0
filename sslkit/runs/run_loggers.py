"""Logger dispatch: a logger that fails is reported once and stops no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import final

from sslkit.core.logger import Logger
from sslkit.errors import PluginError, SslkitError
from sslkit.runtime.line_file import Warn
from sslkit.runtime.optional_work import component, optional
from sslkit.specs.families import LoggerSpec


@final
class Loggers:
    """Passes records, figures and checkpoints on to every logger."""

    def __init__(self, loggers: Mapping[str, Logger], warn: Warn) -> None:
        """`loggers` by what `component` says of them; `warn` is told the first failure of each of their methods."""
        self._loggers, self._warn = dict(loggers), warn
        self._failed = set[str]()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record `values` of `step`."""
        self._each("metrics", lambda logger: logger.metrics(step, values))

    def figures(self, step: int, paths: Sequence[Path]) -> None:
        """Figures were written to `paths`."""
        for path in paths:
            self._each("figure", lambda logger, path=path: logger.figure(step, path.stem, path))  # type: ignore[misc]

    def saved(self, step: int, path: Path) -> None:
        """A checkpoint was written to `path`."""
        self._each("saved", lambda logger: logger.saved(step, path))

    def close(self) -> None:
        """The run ends."""
        self._each("close", lambda logger: logger.close())

    def _each(self, method: str, call: Callable[[Logger], None]) -> None:
        for name, logger in self._loggers.items():
            with optional(f"{name}: {method}", partial(self._tell, f"{name}: {method}")):
                call(logger)

    def _tell(self, key: str, text: str) -> None:
        if key not in self._failed:
            self._failed.add(key)
            self._warn(f"{text}; training goes on")


def open_loggers(specs: Sequence[LoggerSpec], run_dir: Path, name: str, warn: Warn) -> Loggers:
    """The loggers of `specs` for the run called `name`.

    Raises:
        PluginError: one cannot be started; the message names its place in the spec.
    """
    loggers: dict[str, Logger] = {}
    for place, spec in enumerate(specs):
        where = f"log.loggers.{place}"
        try:
            loggers[f"{where}: {component(spec)}"] = spec.build(run_dir, name)
        except SslkitError as error:
            raise type(error)(f"{where}: {error}") from error
        except Exception as error:  # as of a service that cannot be reached, before anything was trained
            raise PluginError(
                f"{where}: {component(spec)} cannot be started: {type(error).__name__}: {error}. "
                "Mend that, or leave the logger out"
            ) from error
    return Loggers(loggers, warn)
