"""The outcome of a training run."""

from __future__ import annotations

from typing import NamedTuple

from sslkit.train.watch.energy import Energy


class Outcome(NamedTuple):
    """What training reports at its end."""

    step: int
    finished: bool
    stopped_by: str | None
    """Name of the signal that stopped it."""
    seconds: float
    """Training time, over all parts of a run that was stopped and resumed."""
    skipped: int
    """Images that could not be read."""
    energy: Energy | None
    """Of training, like the time; None where no counter could be read from the start to the end."""
    agreed: bool = True
    """Whether all ranks came to this end together; otherwise they may not be asked for anything more."""
