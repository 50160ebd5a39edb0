"""Metric records on their way to `metrics.jsonl` and loggers, without a device sync at every step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from sslkit.runs.metrics_log import METRICS
from sslkit.runs.run_loggers import Loggers
from sslkit.runtime.line_file import LineFile, Warn
from sslkit.runtime.parallel import Parallel

FLUSH_SECONDS = 1.0

Watch = Callable[[Mapping[str, float]], Sequence[Mapping[str, object]]]
"""Reads a record of training on every rank; returns the warnings to write below it."""


def unwatched(_record: Mapping[str, float]) -> Sequence[Mapping[str, object]]:
    """Nobody looks, nothing is found."""
    return ()


@final
class Recorder:
    """Holds records as tensors and writes them in bulk, about once a second."""

    def __init__(
        self,
        run_dir: Path,
        loggers: Loggers,
        parallel: Parallel,
        watch: Watch = unwatched,
        warn: Warn = lambda text: None,
    ) -> None:
        """`warn` is told where the disk is full: records are then held, and written later."""
        self.file = LineFile(run_dir / METRICS, warn)
        self.loggers, self.parallel, self._watch = loggers, parallel, watch
        self.latest: dict[str, float] = {}
        self._held: list[tuple[dict[str, float], dict[str, Tensor]]] = []
        self._flushed = time.monotonic()

    def add(self, numbers: Mapping[str, float], values: Mapping[str, Tensor]) -> None:
        """Hold one record: `numbers` (step, epoch, lr, ...) and `values` on the device."""
        self._held.append((dict(numbers), dict(values)))

    @property
    def due(self) -> bool:
        """Whether enough time has passed to read the device."""
        return time.monotonic() - self._flushed > FLUSH_SECONDS

    def flush(self) -> None:
        """Write what is held. Every rank calls this at the same step."""
        self._flushed = time.monotonic()
        if not self._held:
            return
        everything = torch.stack([value.float() for _, values in self._held for value in values.values()])
        means = iter(self.parallel.mean(everything).tolist())  # some steps tell more than others
        for numbers, values in self._held:
            whole = {**numbers, **dict(zip(values, means, strict=False))}
            self.write(whole)
            for warning in self._watch(whole):
                self._line({"step": numbers["step"], "warning": warning})
        self._held.clear()

    def write(self, record: Mapping[str, float]) -> None:
        """Write one record at once (first rank only)."""
        self.latest = {**self.latest, **record}
        if not self.parallel.first:
            return
        self._line(record)
        self.loggers.metrics(int(record["step"]), {k: v for k, v in record.items() if k != "step"})

    def _line(self, record: Mapping[str, object]) -> None:
        if self.parallel.first:
            self.file.add([json.dumps({k: _json_number(v) for k, v in record.items()})])

    def close(self) -> None:
        """Write what the disk did not take yet, and close the loggers."""
        self.file.retry()
        self.loggers.close()


def _json_number(value: object) -> object:
    """JSON has no NaN or infinity."""
    return value if not isinstance(value, float) or math.isfinite(value) else None
