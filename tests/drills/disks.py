"""A disk that is full, at any write of any command that writes, for a while or until it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar, final

from sslkit.cli.main import main
from tests.drills.drill import Drill, Result, judged
from tests.drills.file_calls import WRITING, FileCalls, full_disk
from tests.drills.forks import call, command, fault
from tests.drills.outcome import difference

COMMANDS = {
    "run": ["run", "SPEC", "--out", "run"],
    "evaluate": ["evaluate", "run"],
    "report": ["report", "run", "--fast"],
    "export": ["export", "run", "--out", "weights.safetensors"],
    "export-pt": ["export", "run", "--out", "weights.pt"],
    "compare": ["compare", "run", "run2", "--json", "compare.json", "--html", "compare.html"],
}
"""Everything that writes, in a folder of its own."""


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
        words = self._laid_out(kind, folder)
        names = self.bench.calls(*self._counted(kind))
        begin = dice.choice([i for i, name in enumerate(names, 1) if name in WRITING])
        end = begin + dice.choice([1, 4, 20, 1_000_000])

        def refused() -> int:
            FileCalls(full_disk(range(begin, end))).install()
            return main(words)

        where = f"{kind}, calls {begin} to {end}"
        if wrong := fault(call(refused, folder)):
            return judged(f"{where}: {wrong}")
        wrong = self._again(kind, words, folder)
        return judged(f"{where}, then with space: {wrong}" if wrong else None)

    def _laid_out(self, kind: str, folder: Path) -> list[str]:
        if kind != "run":
            self.bench.copy(self.bench.whole, folder / "run")
        if kind == "compare":
            self.bench.copy(self.bench.whole, folder / "run2")
        return [str(self.bench.spec) if word == "SPEC" else word for word in COMMANDS[kind]]

    def _counted(self, kind: str) -> list[str]:
        """The command in a folder where it may be counted."""
        place = self.bench.folder / f"count-{kind}"
        if not place.exists():
            place.mkdir()
            self._laid_out(kind, place)
        paths = ("run", "run2", "weights.safetensors", "weights.pt", "compare.json", "compare.html")
        words = [str(self.bench.spec) if word == "SPEC" else word for word in COMMANDS[kind]]
        return [words[0], *(str(place / word) if word in paths else word for word in words[1:])]

    def _again(self, kind: str, words: list[str], folder: Path) -> str | None:
        """With space; what is left of before, if anything is."""
        if kind == "run":
            return self.bench.continued(folder / "run")
        if wrong := fault(call(command(*words), folder), allowed=(0,)):
            return wrong
        return difference(self.bench.expected, folder / "run") or _stray(folder)

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


def _stray(folder: Path) -> str | None:
    hidden = [str(path.relative_to(folder)) for path in folder.glob(".*")]
    return f"files stay behind: {hidden}" if hidden else None
