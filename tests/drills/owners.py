"""Two processes that want one run folder."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import ClassVar, final

from tests.drills.drill import Drill, Result, judged
from tests.drills.forks import Child, Ended, command, fault
from tests.drills.outcome import difference

RUN, OTHER, RESUME = ("run", "SPEC", "--out", "RUN"), ("run", "OTHER", "--out", "RUN"), ("resume", "RUN")
EVALUATE, REPORT = ("evaluate", "RUN"), ("report", "RUN", "--fast")
PAIRS = (
    (RUN, RUN), (RUN, OTHER), (RUN, RESUME), (RUN, EVALUATE), (RUN, REPORT),
    (RESUME, RESUME), (RESUME, RUN), (RESUME, OTHER), (RESUME, EVALUATE), (EVALUATE, RESUME),
)  # fmt: skip
"""What the two do, the first a moment earlier. `resume` and `evaluate` begin with a run that was cut off."""


@final
class Owners(Drill):
    name: ClassVar[str] = "owners"
    title = "two commands on one folder: one owns it, the other is told who does or waits its turn; nothing is mixed"
    tries, sample = 60, 6

    def attempt(self, index: int, folder: Path) -> Result:
        dice, run = self.dice(index), folder / "run"
        pair = PAIRS[index % len(PAIRS)]
        if pair[0] != RUN:
            self.bench.copy(self.bench.half, run)
        first = Child(command(*self._words(pair[0], run)), folder)
        time.sleep(dice.random() ** 2 * self.bench.seconds)
        second = Child(command(*self._words(pair[1], run)), folder)
        killed = index // len(PAIRS) % 3 == 2
        if killed:  # and what it owned is free at once
            time.sleep(dice.random() * self.bench.seconds)
            first.send(signal.SIGKILL)
        ends = [child.wait() for child in (first, second)]
        wrong = wrong_ends(ends, killed=killed) or self._mixed(run, more=EVALUATE in pair)
        return judged(f"{' | '.join(' '.join(words) for words in pair)}: {wrong}" if wrong else None)

    def _words(self, words: tuple[str, ...], run: Path) -> list[object]:
        places = {"SPEC": self.bench.spec, "OTHER": self.bench.other, "RUN": run}
        return [places.get(word, word) for word in words]

    def _mixed(self, run: Path, *, more: bool) -> str | None:
        """Whether the folder, brought to its end, holds anything but one of the two runs."""
        wrong = self.bench.continued(run, more=more)
        if wrong is None or difference(self.bench.other_expected, run, more=more) is None:
            return None
        return f"mixed: {wrong}"


def wrong_ends(ends: list[Ended], *, killed: bool) -> str | None:
    """What is wrong with how the two ended."""
    allowed = [(0, 2, -signal.SIGKILL) if killed else (0, 2), (0, 2)]
    for ended, codes in zip(ends, allowed, strict=True):
        if wrong := fault(ended, codes):
            return wrong
    trained = [ended for ended in ends if ended.code == 0 and ", lr " in ended.output]
    if len(trained) > 1:
        return "mixed: both trained to the end, and neither was refused"
    if not killed and all(ended.code for ended in ends):
        return "both were refused: " + ends[0].output[-200:] + ends[1].output[-200:]
    return None
