"""Files and folders of a run that may not be read or written."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import ClassVar, final

from sslkit.cli.main import main
from sslkit.runs.checkpoint import FOLDER
from tests.drills.bench import CUT
from tests.drills.drill import Drill, Result, judged
from tests.drills.forks import call, fault
from tests.drills.outcome import newest_step

UNREADABLE, UNWRITABLE = "unreadable", "unwritable"
_CAPABILITIES = 0x20080522
"""The version of Linux's structures, of two words of 32 bits each."""
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


@final
class Permissions(Drill):
    name: ClassVar[str] = "permissions"
    title = "a file or folder of a run may not be read, or not be written, then it may: the same bits, nothing lost"
    tries, sample = 60, 4

    def _commands(self, run: Path) -> list[list[object]]:
        return [["resume", run], ["run", self.bench.spec, "--out", run], ["evaluate", run], ["report", run]]

    def attempt(self, index: int, folder: Path) -> Result:
        dice = self.dice(index)
        run = self.bench.copy(self.bench.half, folder / "run")
        words = dice.choice(self._commands(run))
        places = sorted([run, *run.rglob("*")])
        place, harm = places[index % len(places)], dice.choice([UNREADABLE, UNWRITABLE])
        where = f"{words[0]}, {place.relative_to(folder)} {harm}"
        before = place.stat().st_mode

        def denied() -> int:
            if not as_anybody():
                return 77
            return main([str(word) for word in words])

        place.chmod(0 if harm == UNREADABLE else 0o555 if place.is_dir() else 0o444)
        try:
            ended = call(denied, folder)
        finally:
            if place.exists():
                place.chmod(before)
        if ended.code == 77:
            return Result("skipped", "root cannot give up its rights here")
        if wrong := fault(ended):
            return judged(f"{where}: {wrong}")
        if newest_step(run) < CUT:
            return judged(f"{where}: lost: the checkpoint of step {CUT} is gone")
        protected = (
            {str(path.relative_to(run)) for path in place.rglob("*")} if place.parent.name == FOLDER else ()
        )
        wrong = self.bench.continued(run, more=words[0] == "evaluate", aside=protected)
        return judged(f"{where}, then allowed: {wrong}" if wrong else None)


def as_anybody() -> bool:
    """Let permissions count for this process even where it is root's; return whether they do."""
    if os.geteuid() != 0:
        return True
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        header, data = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
        if libc.capget(header, data):
            return False
        data[0] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)  # of what is in effect
        return not libc.capset(header, data)
    except (OSError, AttributeError):
        return False
