"""Mutated specs through `validate`, `explain` and `run`."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, final

import yaml

from tests import tiny
from tests.drills.bench import CHANGES
from tests.drills.drill import Drill, Result, judged
from tests.drills.forks import ENOUGH, Child, Ended, command, fault
from tests.drills.journal import ROOT
from tests.drills.mutations import mutated
from tests.specs.valid import valid

SECONDS, MIB = 5.0, 1024.0
"""Of processor time, and of memory beyond what Python and torch take: what `validate` and `explain` may cost."""
RUNNING = 3.0
"""Seconds after its first record in which a run is awaited to end."""


@final
class Specs(Drill):
    name: ClassVar[str] = "specs"
    title = (
        "a mutated spec through `validate`, `explain` and `run`: it runs, or an error says what is wrong; "
        f"`validate` and `explain` within {SECONDS:g} s and 1 GiB"
    )
    tries, sample = 2000, 30

    @cached_property
    def bases(self) -> list[dict[str, Any]]:
        """Small runs, a spec with every section, and the examples."""
        hybrid = {
            "objective": None,
            "objectives": {"mae": tiny.fields()["objective"], "nce": {"kind": "simclr"}},
            "views": {"global": tiny.VIEW, "pair": {**tiny.VIEW, "crops": 2}},
        }
        small = [
            tiny.fields(**CHANGES),
            valid(),
            {k: v for k, v in tiny.fields(**hybrid).items() if v is not None},
        ]
        examples = [yaml.safe_load(p.read_text()) for p in sorted((ROOT / "examples").glob("*.yaml"))]
        return [*small, *small, *examples]

    def attempt(self, index: int, folder: Path) -> Result:
        dice = self.dice(index)
        base = self.bases[index % len(self.bases)]
        done, text = mutated(base, dice)
        spec = folder / "spec.yaml"
        spec.write_text(text, errors="surrogatepass")
        wrong = self._through(spec, folder, explain=dice.random() < 0.1, run=dice.random() < 0.6)
        return judged(f"{base.get('name')}, {done}: {wrong}" if wrong else None)

    def _through(self, spec: Path, folder: Path, *, explain: bool, run: bool) -> str | None:
        ended = Child(command("validate", spec), folder).wait(mib=4 * MIB)
        if wrong := bounded(ended):
            return f"validate: {wrong}"
        if explain or ended.code == 0:
            other = Child(command("explain", spec), folder).wait(mib=4 * MIB)
            if wrong := bounded(other):
                return f"explain: {wrong}"
            if ended.code != 0 and other.code == 0:
                return "explain shows what validate refuses"
        return self._run(spec, folder) if run and ended.code == 0 else None

    def _run(self, spec: Path, folder: Path) -> str | None:
        """A run that has trained for a while is let go."""
        records, begun = folder / "run" / "metrics.jsonl", list[float]()

        def enough() -> bool:
            if not begun and records.exists() and records.stat().st_size:
                begun.append(time.monotonic())
            return bool(begun) and time.monotonic() - begun[0] > RUNNING

        child = Child(command("run", spec, "--out", folder / "run"), folder)
        ended = child.wait(mib=4 * MIB, enough=enough)
        wrong = None if ended.stopped == ENOUGH else fault(ended)
        return f"run: {wrong}" if wrong else None


def bounded(ended: Ended) -> str | None:
    """What is wrong with an end, its cost too."""
    if wrong := fault(ended):
        return wrong
    if ended.seconds > SECONDS:
        return f"took {ended.seconds:.1f} s of processor time"
    return f"took {ended.mib:.0f} MiB" if ended.mib > MIB else None
