"""SIGKILL at any moment, and an end at every single call that changes a file."""

from __future__ import annotations

import signal
import time
from functools import cached_property
from pathlib import Path
from typing import ClassVar, final

from tests.drills.commands import COMMANDS, Writing, calls_of
from tests.drills.drill import HELD, Drill, Result, judged
from tests.drills.file_calls import KILLED, die_at
from tests.drills.forks import fault


@final
class Kill(Drill):
    name: ClassVar[str] = "kill"
    title = (
        "SIGKILL at random moments, up to three, then `resume` or `run`: the same bits, nothing saved is lost"
    )
    tries, sample = 300, 6

    def attempt(self, index: int, folder: Path) -> Result:
        dice, run = self.dice(index), folder / "run"
        for again in range(1 + index % 3):
            by = "run" if not again else dice.choice(["run", "resume"])
            child = self.bench.start(run, by)
            time.sleep(dice.random() * self.bench.seconds)
            child.send(signal.SIGKILL)
            if wrong := fault(child.wait(), allowed=(0, 2, -signal.SIGKILL)):
                return judged(wrong)
        return judged(self.bench.continued(run, by=dice.choice(["run", "resume"])))


@final
class EveryCall(Drill):
    name: ClassVar[str] = "calls"
    title = (
        "an end at every call that changes a file, writes cut in half, of each command that writes, then once more: "
        "the same bits, nothing lost"
    )
    sample = 6

    @cached_property
    def tries(self) -> int:  # type: ignore[override]
        return len(self._calls)

    @cached_property
    def _calls(self) -> list[tuple[str, int, str]]:
        """(kind of command, number of the call, its name)."""
        return [(kind, *call) for kind in COMMANDS for call in enumerate(calls_of(self.bench, kind), 1)]

    def attempt(self, index: int, folder: Path) -> Result:
        """Samples are spread by a stride that meets every call."""
        stride = next(prime for prime in (89, 97, 101) if self.tries % prime)
        kind, number, name = self._calls[index * stride % self.tries]
        writing = Writing(self.bench, kind, folder)
        wrong = fault(writing.disturbed(die_at(number)), allowed=(0, KILLED)) or writing.again()
        return judged(f"{kind}, call {number}, {name}: {wrong}") if wrong else HELD
