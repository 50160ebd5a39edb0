"""A bit flipped in any file of a run folder: noticed, or without effect."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, final

from tests.drills.drill import HELD, Drill, Result, judged
from tests.drills.forks import Ended, call, command, fault
from tests.drills.outcome import difference, plain, plain_page

_DAMAGE = re.compile("warning|note|damaged|cannot be read|is not", re.IGNORECASE)


@final
class Flips(Drill):
    name: ClassVar[str] = "flips"
    title = (
        "a bit flipped in any file of a run, then `resume`, or `report`, `evaluate` and `resume`: "
        "the same result, or an error that names the file"
    )
    tries, sample = 2000, 16

    def attempt(self, index: int, folder: Path) -> Result:
        dice, finished = self.dice(index), index % 2 == 1
        template = self.bench.whole if finished else self.bench.half
        files = [
            p.relative_to(template) for p in sorted(template.rglob("*")) if p.is_file() and p.stat().st_size
        ]
        name, run = files[index // 2 % len(files)], self.bench.copy(template, folder / "run")
        content = bytearray((run / name).read_bytes())
        at, bit = dice.randrange(len(content)), dice.randrange(8)
        content[at] ^= 1 << bit
        (run / name).write_bytes(content)
        wrong = self._finished(run, name) if finished else self._cut_off(run, name)
        return judged(f"{name}, bit {bit} of byte {at}, {wrong}") if wrong else HELD

    def _cut_off(self, run: Path, name: Path) -> str | None:
        """A run that goes on ends with the same bits, or tells what is damaged."""
        ended = call(command("resume", run), run.parent)
        if wrong := fault(ended):
            return f"resume: {wrong}"
        if ended.code == 2:
            return unnamed(ended, name)
        wrong = difference(self.bench.expected, run, aside=[str(name)])  # what it did not read stays as it is
        return f"resume, silently: {wrong}" if wrong and not names(ended, name) else None

    def _finished(self, run: Path, name: Path) -> str | None:
        """A finished run shows and measures the same, or tells what is damaged."""
        for words in (["report", run, "--fast"], ["evaluate", run], ["resume", run]):
            ended = call(command(*words), run.parent)
            wrong = fault(ended) or (unnamed(ended, name) if ended.code else None)
            if wrong is None and ended.code == 0 and not names(ended, name):
                wrong = self._effect(str(words[0]), ended, run, name)
            if wrong:
                return f"{words[0]}: {wrong}"
        wrong = difference(self.bench.shown("evaluate").outcome, run, aside=[str(name)])
        return f"afterwards: {wrong}" if wrong else None

    def _effect(self, command_name: str, ended: Ended, run: Path, name: Path) -> str | None:
        """What a command that succeeded made otherwise than of the undamaged run."""
        shown = self.bench.shown(command_name)
        if plain(ended.output, run) != shown.printed:
            return f"silently printed {ended.output[-300:]}"
        page = plain_page(run) if command_name == "report" else ""
        return None if page == shown.page or tells(page, shown.page, name) else "silently another page"


def names(ended: Ended, name: Path) -> bool:
    """Whether a line that speaks of damage names the file, or the folder that holds it."""
    places = [place for place in (name.name, name.parent.name) if place]
    lines = [line for line in ended.output.splitlines() if _DAMAGE.search(line)]
    return any(place in line for line in lines for place in places)


def tells(page: str, undamaged: str, name: Path) -> bool:
    """Whether a page speaks of the damaged file where that of the undamaged run does not."""
    return page.count(name.name) > undamaged.count(name.name)


def unnamed(ended: Ended, name: Path) -> str | None:
    """What is wrong with an error that leaves open which file is damaged."""
    places = [place for place in (name.name, name.parent.name) if place]
    return (
        None if any(place in ended.output for place in places) else f"does not name it: {ended.output[-300:]}"
    )
