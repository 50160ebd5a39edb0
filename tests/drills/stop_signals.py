"""Every signal that asks a run to stop, once and twice."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import ClassVar, final

from sslkit.cli.main import main
from sslkit.runtime import signals
from tests.drills.drill import Drill, Result, judged
from tests.drills.forks import Child, fault

NAMES = [name for name in (*signals.ALWAYS, *signals.UNLESS_HANDLED) if hasattr(signal, name)]


@final
class Signals(Drill):
    name: ClassVar[str] = "signals"
    title = "every signal that is handled, once or twice, at a random moment, then `resume`: the same bits"
    tries, sample = 8 * len(NAMES), len(NAMES)

    def attempt(self, index: int, folder: Path) -> Result:
        dice, run = self.dice(index), folder / "run"
        number = getattr(signal, NAMES[index % len(NAMES)])
        twice = index // len(NAMES) % 2 == 1
        words = ["run", str(self.bench.spec), "--out", str(run)]

        def hearing() -> int:
            signals.SAME = 0.0  # a second signal counts at once
            return main(words)

        child = Child(hearing, folder)
        for _ in range(1 + twice):
            time.sleep(dice.random() * self.bench.seconds)
            child.send(number)
        ended = child.wait()
        by_default = (-number, 130 if number == signal.SIGINT else -number)  # before a run listens
        wrong = fault(ended, allowed=(0, 128 + number, *by_default))
        if ended.code == 128 + number and "sslkit resume" not in ended.output and number != signal.SIGINT:
            wrong = wrong or f"does not say how to go on: {ended.output[-300:]}"
        return judged(wrong or self.bench.continued(run))
