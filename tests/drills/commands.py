"""The commands that write, each in a folder of its own, and again after it was disturbed."""

from __future__ import annotations

from pathlib import Path
from typing import final

from sslkit.cli.main import main
from tests.drills.bench import Bench
from tests.drills.file_calls import Act, FileCalls
from tests.drills.forks import Ended, call, command, fault
from tests.drills.outcome import difference

COMMANDS = {
    "run": ["run", "SPEC", "--out", "run"],
    "evaluate": ["evaluate", "run"],
    "report": ["report", "run", "--fast"],
    "export": ["export", "run", "--out", "weights.safetensors"],
    "export-pt": ["export", "run", "--out", "weights.pt"],
    "compare": ["compare", "run", "run2", "--json", "compare.json", "--html", "compare.html"],
}
"""Words, in a folder with what the command reads."""


@final
class Writing:
    """One of `COMMANDS`, in a folder."""

    def __init__(self, bench: Bench, kind: str, folder: Path) -> None:
        """`folder`: what the command reads is laid out there."""
        self.bench, self.kind, self.folder = bench, kind, folder
        self.words = [str(bench.spec) if word == "SPEC" else word for word in COMMANDS[kind]]
        if kind != "run":
            bench.copy(bench.whole, folder / "run")
        if kind == "compare":
            bench.copy(bench.other_whole, folder / "run2")

    def disturbed(self, act: Act) -> Ended:
        """The command, with `act` before each of its calls that change files."""

        def run() -> int:
            FileCalls(act).install()
            return main(self.words)

        return call(run, self.folder)

    def again(self) -> str | None:
        """The command once more, undisturbed; what is harmed, if anything is."""
        if self.kind == "run":
            return self.bench.continued(self.folder / "run")
        if wrong := fault(call(command(*self.words), self.folder), allowed=(0,)):
            return wrong
        expected = self.bench.shown("evaluate").outcome if self.kind == "evaluate" else self.bench.expected
        return difference(expected, self.folder / "run")

    def strays(self) -> str | None:
        """Half-written files that stay beside what was asked for."""
        hidden = [str(path.relative_to(self.folder)) for path in self.folder.glob(".*")]
        return f"files stay behind: {hidden}" if hidden else None


def calls_of(bench: Bench, kind: str) -> list[str]:
    """The names of the calls that change files, in the undisturbed command."""
    if kind not in bench.calls:
        place = bench.folder / f"count-{kind}"
        place.mkdir()
        writing, log = Writing(bench, kind, place), place / "calls.txt"
        counted = FileCalls()

        def run() -> int:
            counted.install()
            code = main(writing.words)
            names = list(counted.names)
            log.write_text(" ".join(names))
            return code

        ended = call(run, place)
        if ended.code:
            raise RuntimeError(
                f"{kind} ended with {ended.code} though nothing was disturbed: {ended.output[-2000:]}"
            )
        bench.calls[kind] = log.read_text().split()
    return bench.calls[kind]
