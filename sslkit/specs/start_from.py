"""Another run whose networks a run begins with. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, final

from pydantic import Field

from sslkit.core.problem import Problem
from sslkit.specs.base import Spec

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


@final
class StartFrom(Spec):
    """The run whose networks another begins with: every net and every head whose names and shapes fit."""

    run: Path
    """Its folder."""
    checkpoint: str = Field("last", min_length=1)
    """`last`, `best`, or the name of one of its checkpoints (`step-00001200`)."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The folder must be there; the student has one origin."""
        if not self.run.is_dir():
            yield Problem("run", f"no folder {self.run}; give that of a run")
        if run.backbone.has_first_weights:
            field = next(name for name in run.backbone.first_weights if getattr(run.backbone, name, None))
            yield Problem(
                "", f"gives the student its first weights, and so does `backbone.{field}`; keep one of them"
            )


def start_from_text(text: str) -> dict[str, str]:
    """Fields of `RUN`, `RUN:STEP`, `RUN:best` or `RUN:step-00001200`."""
    run, colon, which = text.rpartition(":")
    if not colon or Path(text).is_dir():
        return {"run": text}
    return {"run": run, "checkpoint": f"step-{int(which):08d}" if which.isdecimal() else which}
