"""SIGKILL at any moment, and an end at every single call that changes a file."""

from __future__ import annotations

import signal
import time
from functools import cached_property
from pathlib import Path
from typing import ClassVar, final

from sslkit.cli.main import main
from tests.drills.drill import HELD, Drill, Result, judged
from tests.drills.file_calls import KILLED, FileCalls, die_at
from tests.drills.forks import call, fault


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
    title = "an end at every call that changes a file, writes cut in half, then `resume`: the same bits, nothing lost"
    sample = 6

    @cached_property
    def tries(self) -> int:  # type: ignore[override]
        return len(self._names)

    @cached_property
    def _names(self) -> list[str]:
        return self.bench.calls("run", self.bench.spec, "--out", self.bench.folder / "counted")

    def attempt(self, index: int, folder: Path) -> Result:
        """Samples are spread over the run by a stride that meets every call."""
        stride = next(prime for prime in (89, 97, 101) if self.tries % prime)
        number, run = index * stride % self.tries + 1, folder / "run"
        words = ["run", str(self.bench.spec), "--out", str(run)]

        def dying() -> int:
            FileCalls(die_at(number)).install()
            return main(words)

        ended = call(dying, folder)
        if wrong := fault(ended, allowed=(0, KILLED)):
            return judged(f"call {number}: {wrong}")
        wrong = self.bench.continued(run)
        return judged(f"call {number}, {self._names[number - 1]}: {wrong}") if wrong else HELD
