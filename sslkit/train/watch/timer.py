"""Training time, energy and throughput, evaluations left out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import final

from sslkit.train.watch.energy import Meter


@final
class Clock:
    """Measures training, and pauses for evaluations."""

    def __init__(self, seconds: float = 0.0, meter: Meter | None = None) -> None:
        """`seconds`: training time of earlier parts of the run; `meter`: what energy is read from."""
        self.meter = meter or Meter(())
        self._began = time.monotonic() - seconds
        self._images, self._seconds = 0, seconds
        self._stopped: float | None = None

    @property
    def seconds(self) -> float:
        """Training time so far, over all parts of the run."""
        return (time.monotonic() if self._stopped is None else self._stopped) - self._began

    def rate(self, images: int) -> float:
        """Images a second since the last call, where `images` were seen since the start of the run."""
        now = self.seconds
        rate = (images - self._images) / max(now - self._seconds, 1e-9)
        self._images, self._seconds = images, now
        self.meter.poll()
        return rate

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block out of time and energy; a pause inside a pause is a part of it."""
        if self._stopped is not None:
            yield
            return
        self._stopped = time.monotonic()
        self.meter.poll()
        try:
            yield
        finally:
            self.meter.skip()
            self._began += time.monotonic() - self._stopped
            self._stopped = None
