"""A disk that is full, at any write of any command that writes, for a while or until it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar, final

from tests.drills.commands import COMMANDS, Writing, calls_of
from tests.drills.drill import Drill, Result, judged
from tests.drills.file_calls import WRITING, full_disk
from tests.drills.forks import call, command, fault


@final
class FullDisk(Drill):
    name: ClassVar[str] = "disk"
    title = (
        "a full disk at any write of a command, for a while or for good, then again with space: the same bits"
    )
    tries, sample = 60, 6

    def attempt(self, index: int, folder: Path) -> Result:
        dice = self.dice(index)
        kind = "run" if index % 2 == 0 else dice.choice([name for name in COMMANDS if name != "run"])
        if kind == "run" and index % 8 == 6:
            return self._small(folder, dice.randrange(4, 300))
        names, writing = calls_of(self.bench, kind), Writing(self.bench, kind, folder)
        begin = dice.choice([number for number, name in enumerate(names, 1) if name in WRITING])
        end = begin + dice.choice([1, 4, 20, 1_000_000])
        where = f"{kind}, calls {begin} to {end}"
        if wrong := fault(writing.disturbed(full_disk(range(begin, end)))) or writing.strays():
            return judged(f"{where}: {wrong}")
        wrong = writing.again()
        return judged(f"{where}, then with space: {wrong}" if wrong else None)

    def _small(self, folder: Path, kib: int) -> Result:
        """A real disk of so many KiB, larger afterwards; where one may be mounted."""
        disk = folder / "disk"
        disk.mkdir()
        if not _mount(f"size={kib}k", disk):
            return Result("skipped", "a small disk can be mounted by root on Linux only")
        try:
            ended = call(command("run", self.bench.spec, "--out", disk / "run"), folder)
            wrong = fault(ended)
            if wrong is None and not _mount("remount,size=16m", disk):
                return Result("skipped", "a mounted disk cannot be made larger here")
            wrong = wrong or self.bench.continued(disk / "run")
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)
        return judged(f"a disk of {kib} KiB: {wrong}" if wrong else None)


def _mount(options: str, disk: Path) -> bool:
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    return subprocess.run(words, capture_output=True).returncode == 0
