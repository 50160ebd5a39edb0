"""What all drills start from: a short run, undisturbed and cut off, and commands that have been warmed up."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from matplotlib.figure import Figure

from sslkit.cli.main import COMMANDS, main
from sslkit.runs.checkpoint import Checkpoints
from tests import tiny
from tests.drills.file_calls import KILLED
from tests.drills.forks import Child, Ended, call, command, fault
from tests.drills.outcome import Outcome, difference, newest_step, outcome, plain, plain_page

STEPS, CUT = 4, 3
"""Of the run, and the step of the checkpoint that a cut-off run has last."""
CHANGES: dict[str, Any] = {
    "steps": STEPS,
    "batch_size": 8,
    "checkpoint": {"every": "1 steps"},
    "evaluate": [{"kind": "knn", "every": "2 steps"}],
    "log": tiny.DRAWN,
}
_NO_RUN = re.compile(r"holds no run|no such folder")


class Shown(NamedTuple):
    """What a command makes of a run."""

    printed: str
    page: str
    """Of `report`."""
    outcome: Outcome


@final
class Bench:
    """Templates in a folder, made in this process, which is then forked for each try."""

    def __init__(self, folder: Path) -> None:
        """`folder`: empty, on a quick disk, absolute."""
        self.folder = folder
        self._shown: dict[str, Shown] = {}
        self.calls: dict[str, list[str]] = {}
        lighten()
        self.spec = self._spec("spec", seed=3)
        self.other = self._spec("other", seed=4)
        self.whole = folder / "whole"
        self._here("run", self.spec, "--out", self.whole)
        warm = self.copy(self.whole, folder / "warm")
        self._here("explain", self.spec)
        self._here("evaluate", warm)
        self._here("report", warm)
        self._here("export", warm, "--out", folder / "warm.safetensors")
        for name in COMMANDS:
            import_module(f"sslkit.cli.{name}")
        self.expected = outcome(self.whole)
        gc.collect()
        gc.freeze()

    def _here(self, *words: object) -> None:
        """A command in this process, so that its forks find everything imported and at hand."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
            code = main([str(word) for word in words])
        if code:
            raise RuntimeError(
                f"{words} ended with {code} before anything was disturbed: {errors.getvalue()}"
            )

    def _spec(self, name: str, **changes: object) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(tiny.fields(**{**CHANGES, **changes})))
        return path

    @cached_property
    def other_whole(self) -> Path:
        """The folder of the run with the other seed."""
        run = self.folder / "other"
        self.done(command("run", self.other, "--out", run))
        return run

    @cached_property
    def other_expected(self) -> Outcome:
        """What the run with the other seed comes to."""
        return outcome(self.other_whole)

    @cached_property
    def half(self) -> Path:
        """The folder of a run that was killed after its checkpoint of step `CUT`."""
        run, save = self.folder / "half", Checkpoints.save

        def saving(self: Checkpoints, step: int, *args: Any, **kwargs: Any) -> Path:
            path = save(self, step, *args, **kwargs)
            if step == CUT:
                os._exit(KILLED)
            return path

        cut = command("run", self.spec, "--out", run, before=lambda: setattr(Checkpoints, "save", saving))
        ended = call(cut)
        if ended.code != KILLED or newest_step(run) != CUT:
            raise RuntimeError(f"the run was not cut off: {ended}")
        return run

    @cached_property
    def seconds(self) -> float:
        """How long a run in a child takes by the clock."""
        begun = time.monotonic()
        self.done(command("run", self.spec, "--out", self.folder / "timed"))
        return time.monotonic() - begun

    def shown(self, name: str) -> Shown:
        """What `report`, `evaluate` or `resume` makes of the whole run."""
        if name not in self._shown:
            run = self.copy(self.whole, self.folder / f"shown-{name}" / "run")
            ended = self.done(command(*([name, run, "--fast"] if name == "report" else [name, run])))
            page = plain_page(run) if name == "report" else ""
            self._shown[name] = Shown(plain(ended.output, run), page, outcome(run))
        return self._shown[name]

    def done(self, function: Callable[[], int]) -> Ended:
        """`function` in a child; it must succeed. Raises RuntimeError where it does not."""
        ended = call(function, self.folder)
        if ended.code:
            raise RuntimeError(
                f"ended with {ended.code} though nothing was disturbed: {ended.output[-2000:]}"
            )
        return ended

    def copy(self, source: Path, target: Path) -> Path:
        """A copy of a template."""
        shutil.copytree(source, target)
        return target

    def continued(
        self, run: Path, *, by: str = "resume", more: bool = False, aside: Collection[str] = ()
    ) -> str | None:
        """Go on with the run in `run` to its end; what was harmed, if anything was.

        Nothing that was saved may be lost: it goes on from the newest whole checkpoint. `more`: it was evaluated
        in between. Files `aside` may be there or not.
        """
        saved = newest_step(run)
        words = ["run", self.spec, "--out", run] if by == "run" else ["resume", run]
        ended = call(command(*words), run.parent)
        if by == "resume" and ended.code == 2 and saved == 0 and _NO_RUN.search(ended.output):
            return self.continued(run, by="run", more=more, aside=aside)
        if wrong := fault(ended, allowed=(0,)):
            return f"{by}: {wrong}"
        return lost(saved, ended) or difference(self.expected, run, aside, more=more)

    def start(self, run: Path, by: str) -> Child:
        """`run` or `resume` in `run`, to be disturbed."""
        words = ["run", self.spec, "--out", run] if by == "run" else ["resume", run]
        return Child(command(*words), run.parent)


def lost(saved: int, ended: Ended) -> str | None:
    """What a command that went on with a run lost of the `saved` steps."""
    begun = re.search(r"from step (\d+)", ended.output)
    if "is finished" in ended.output or saved == 0:
        return None
    start = int(begun[1]) if begun else 0
    return f"lost: {saved} steps were saved, and it went on from step {start}" if start < saved else None


def lighten() -> None:
    """Leave out what costs most and is not what drills are about: one thread, and figures that are not drawn.

    Files of figures are written all the same, by the same way.
    """
    torch.set_num_threads(1)

    def savefig(self: Figure, target: Any, **kwargs: Any) -> None:
        blank = _blank()
        if hasattr(target, "write"):
            target.write(blank)
        else:
            Path(target).write_bytes(blank)

    Figure.savefig = savefig  # type: ignore[method-assign]


def _blank() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(file, "PNG")
    return file.getvalue()
