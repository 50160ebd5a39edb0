"""Many steps and many runs in one process: memory, open files and threads do not grow."""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import threading
import time
from pathlib import Path
from typing import ClassVar, NamedTuple, final

from sslkit.cli.main import main
from tests import tiny
from tests.drills.drill import Drill, Result, judged
from tests.drills.forks import Child, call, command, fault

GROWTH = 48.0
"""MiB that a process may grow by after it has warmed up: allocators keep some of what they got."""


class Usage(NamedTuple):
    """What a process holds."""

    mib: float
    files: int
    threads: int


@final
class Endurance(Drill):
    """Try 0 makes many steps, try 1 many runs."""

    name: ClassVar[str] = "endurance"
    title = "2,000 steps of a run, and 30 runs in one process: memory, open files and threads do not grow"
    tries, sample = 2, 2

    steps, runs = 2000, 30

    def shorten(self) -> None:
        self.steps, self.runs = 200, 4

    def attempt(self, index: int, folder: Path) -> Result:
        if not Path("/proc/self/statm").exists():
            return Result("skipped", "what a process holds is read from /proc, which is not here")
        return judged(self._many_steps(folder) if index % 2 == 0 else self._many_runs(folder))

    def _many_steps(self, folder: Path) -> str | None:
        spec = folder / "spec.yaml"
        fields = tiny.fields(
            steps=self.steps, batch_size=8, checkpoint={"every": f"{max(1, self.steps // 20)} steps"},
            log={"every": 10, "flops": False},
        )  # fmt: skip
        spec.write_text(json.dumps(fields))
        child, seen, run = (
            Child(command("run", spec, "--out", folder / "run"), folder),
            list[Usage](),
            folder / "run",
        )
        records = run / "metrics.jsonl"
        while not (run / "summary.json").exists() and alive(child.pid):
            if records.exists() and records.stat().st_size and (usage := usage_of(child.pid)):
                seen.append(usage)
            time.sleep(0.05)
        if wrong := fault(child.wait(), allowed=(0,)):
            return wrong
        return growth(seen[len(seen) // 4 :])

    def _many_runs(self, folder: Path) -> str | None:
        log = folder / "usage.jsonl"

        def several() -> int:
            for i in range(self.runs):
                with contextlib.redirect_stdout(io.StringIO()):
                    code = main(["run", str(self.bench.spec), "--out", str(folder / f"run-{i}")])
                if code:
                    return code
                with log.open("a") as file:
                    file.write(json.dumps([*(usage_of(os.getpid()) or ())]) + "\n")
            return 0 if threading.active_count() == 1 else 3

        if wrong := fault(call(several, folder), allowed=(0,)):
            return wrong
        seen = [Usage(*json.loads(line)) for line in log.read_text().splitlines()]
        return growth(seen[min(3, len(seen) // 3) :])


def usage_of(pid: int) -> Usage | None:
    """What process `pid` holds; None once it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        counts = [len(list(Path(f"/proc/{pid}/{what}").iterdir())) for what in ("fd", "task")]
    except (OSError, IndexError):
        return None
    return Usage(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, *counts)


def alive(pid: int) -> bool:
    """Whether the child `pid` has not ended."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def growth(seen: list[Usage]) -> str | None:
    """What grew between the first and the last third of what was seen."""
    third = max(1, len(seen) // 3)
    first, last = (
        Usage(*map(statistics.median, zip(*part, strict=True))) for part in (seen[:third], seen[-third:])
    )
    if last.mib - first.mib > GROWTH or last.files > first.files or last.threads > first.threads:
        return f"grew from {first} to {last}"
    return None
