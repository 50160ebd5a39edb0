"""Runs the cells of a sweep: each in a process of its own, none twice, with any number of workers.

What watches over cells for days is light: torch is imported for the table at the end, and under `torchrun`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, Self, final

from sslkit.analysis.sweep.cells import is_finished, require_own_folders
from sslkit.core.ranks import VARIABLES, ranks
from sslkit.errors import Interrupted, SpecError
from sslkit.registry.manager import registry
from sslkit.runtime.atomic_files import write_text
from sslkit.runtime.file_lock import lock as lock_file
from sslkit.runtime.signals import Handler, give_back, listen
from sslkit.specs.load import dump, parse_as
from sslkit.specs.run import RunSpec
from sslkit.specs.sweep import Cell, Grid, SweepSpec, grid, read_sweep_spec

if TYPE_CHECKING:
    from sslkit.analysis.sweep.sweep_table import SweepTable

COMMAND = (sys.executable, "-m", "sslkit", "run")
"""What makes a cell, given its spec."""
HIDDEN = ".sweep"
"""Folder beside the run folders with the spec, the log and the lock of each cell."""
LOOK = 1.0
"""Seconds between looks at cells that another process is making."""
PATIENCE = timedelta(days=30)
"""Ranks wait that long for the cells of the others."""

Say = Callable[[str], None]
State = Literal["finished", "already finished", "stopped", "failed"]


class CellShare(NamedTuple):
    """Which cells a worker makes: every `of`-th, from `first` on."""

    first: int = 0
    of: int = 1
    rank: int = 0
    """Of those started together; the ranks wait for each other at the end, and the first writes the table."""
    ranks: int = 1


class Ended(NamedTuple):
    """The outcome of a cell."""

    name: str
    state: State
    reason: str = ""
    """Of one that failed."""


def share_of(environ: Mapping[str, str], index: int | None = None, of: int | None = None) -> CellShare:
    """The share of this process: as given, or as a SLURM array and the variables of ranks say, or everything.

    Raises:
        SpecError: only one of `index` and `of` is given, they do not fit, or array indices are unevenly spaced.
    """
    if (index is None) != (of is None):
        raise SpecError("--index and --of go together: --index 0 --of 4 is the first of four shares")
    place = ranks(environ)
    if index is None or of is None:
        index, of = _array(environ)
    if not 0 <= index < of:
        raise SpecError(f"share {index} of {of}: indices count from 0 and end below the number of shares")
    return CellShare(index * place.world + place.rank, of * place.world, place.rank, place.world)


def _array(environ: Mapping[str, str]) -> tuple[int, int]:
    """Place in a SLURM array, from 0, and its size."""
    if "SLURM_ARRAY_TASK_ID" not in environ:
        return 0, 1
    task, count, first, step = (
        int(environ.get(f"SLURM_ARRAY_TASK_{name}", default))
        for name, default in (("ID", 0), ("COUNT", 1), ("MIN", 0), ("STEP", 1))
    )
    index, rest = divmod(task - first, step)
    if rest or not 0 <= index < count:
        raise SpecError(f"SLURM array index {task} is not evenly spaced: submit with --array=0-{count - 1}")
    return index, count


@final
class Stop:
    """A signal: the cell that runs saves and ends, and no other begins. A second signal ends the cell at once."""

    def __init__(self) -> None:
        self.signal: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._previous: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        """Listen, where this is the main thread."""
        self._previous = listen(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        give_back(self._previous)

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Until `process` has ended; signals are passed on to it."""
        self._process = process
        if self.signal is not None:  # it came before there was a process
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait()
        finally:
            self._process = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number).name
        if (
            self._process is not None
        ):  # what a terminal told it already counts once, as it comes at the same time
            self._process.send_signal(signal.SIGTERM)


def _prefixed(say: Say, where: str) -> Say:
    return lambda text: say(f"{where}: {text}")


def run_cells(
    plan: Grid, share: CellShare, stop: Stop, say: Say = print, stop_on_error: bool = False
) -> list[Ended]:
    """Run the cells of `share` one after another; those that another process is making are waited for.

    Every cell is `python -m sslkit run` in a process of its own, so that one that fails, or is killed for its
    memory, takes nothing with it, and none finds the memory, the graphs or the random state of another.
    """
    hidden = plan.folder / HIDDEN
    hidden.mkdir(parents=True, exist_ok=True)
    mine, ended, announced = plan.cells[share.first :: share.of], dict[str, Ended](), set[str]()
    while len(ended) < len(mine):
        before = len(ended)
        for cell in mine:
            if stop.signal is not None or (
                stop_on_error and any(e.state == "failed" for e in ended.values())
            ):
                return list(ended.values())
            if cell.name in ended:
                continue
            with _claimed(hidden / f"{cell.name}.lock") as lock:
                if lock is not None:
                    where = f"[{len(ended) + 1}/{len(mine)}] {cell.name}"
                    ended[cell.name] = _ended(cell, hidden, lock, stop, _prefixed(say, where))
                elif cell.name not in announced:
                    say(f"{cell.name}: another process is making it")
                    announced.add(cell.name)
        if len(ended) == before:
            time.sleep(LOOK)
    return list(ended.values())


@contextlib.contextmanager
def _claimed(path: Path, wait: bool = False) -> Iterator[int | None]:
    """The lock at `path`, or None where another process holds it; with `wait`, once no other does.

    The system takes it back when all who hold it have ended, so there is none to be cleared after a crash. A cell
    holds it too: one whose sweep was killed is left to end.

    Raises:
        SpecError: the file system knows no locks.
    """
    if importlib.util.find_spec("fcntl") is None:
        raise SpecError(
            f"{path}: sweeps keep a cell to one process by file locks of POSIX systems, which this system does not "
            "have; make the cells one by one with `sslkit run`, or sweep on Linux, macOS or WSL"
        )
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        locked = lock_file(descriptor, wait)
    except OSError as error:  # as of Lustre without `-o flock`, or NFS without its lock service
        raise SpecError(
            f"{path}: cannot be locked ({error.strerror}), and locks keep a cell to one process. "
            "Choose a folder on another file system with --out"
        ) from None
    else:
        yield descriptor if locked else None
    finally:
        os.close(descriptor)


def _ended(cell: Cell, hidden: Path, lock: int, stop: Stop, say: Say) -> Ended:
    """Run `cell`, whose lock is held, unless it is finished."""
    if is_finished(cell):
        say("already finished")
        return Ended(cell.name, "already finished")
    spec, log = hidden / f"{cell.name}.yaml", hidden / f"{cell.name}.log"
    write_text(spec, dump(cell.spec))
    begun, start = time.monotonic(), log.stat().st_size if log.is_file() else 0
    say(f"runs; its output: {log}")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*COMMAND, str(spec)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(),
            pass_fds=(lock,),
        )
        code = stop.wait(process)
    if is_finished(cell):
        say(f"finished in {time.monotonic() - begun:.1f} s")
        return Ended(cell.name, "finished")
    if stop.signal is not None:
        say(f"stopped by {stop.signal}")
        return Ended(cell.name, "stopped")
    reason = _reason(log, start, code)
    say(f"failed: {reason}")
    return Ended(cell.name, "failed", reason)


def _environment() -> dict[str, str]:
    """That of a cell: one process, on the device of this rank."""
    environment = {key: value for key, value in os.environ.items() if not VARIABLES.fullmatch(key)}
    if ranks().world == 1:
        return environment
    import torch

    local, devices = ranks().local, torch.cuda.device_count()
    if devices:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(devices)))
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[local % devices]
    return environment


def _reason(log: Path, start: int, code: int) -> str:
    """Why a cell ended with `code`: its own words, in what it wrote to the log from `start` on."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if line.startswith(("error: ", "bug: ")):
            return line
    if code < 0:
        killed = " (often for want of memory)" if code == -signal.SIGKILL else ""
        return f"ended by {signal.Signals(-code).name}{killed}"
    return f"ended with exit code {code} before its last step; see {log}"


def together(share: CellShare, ended: Sequence[Ended]) -> list[Ended]:
    """What became of the cells of all ranks. They wait here for each other, else `torchrun` would end the rest."""
    if share.ranks == 1:
        return list(ended)
    import torch.distributed as dist

    from sslkit.runtime.parallel import join

    join("gloo", PATIENCE)
    try:
        parts: list[list[Ended]] = [[]] * share.ranks
        dist.all_gather_object(parts, list(ended))
    finally:
        dist.destroy_process_group()
    return [one for part in parts for one in part]


def write_results(plan: Grid, ended: Sequence[Ended]) -> SweepTable:
    """Write the table of all cells that are finished: one worker at a time, so that the last has them all."""
    from sslkit.analysis.sweep.sweep_table import table, write_table

    hidden = plan.folder / HIDDEN
    hidden.mkdir(parents=True, exist_ok=True)
    with _claimed(hidden / ".table.lock", wait=True):  # no cell's name begins with a point
        results = table(plan, {one.name: one.reason for one in ended if one.state == "failed"})
        write_table(results, plan.folder)
    return results


def sweep(
    base: RunSpec | str | Path,
    axes: Mapping[str, Sequence[object]] | None = None,
    rows: Mapping[str, Mapping[str, object]] | None = None,
    out: str | Path | None = None,
    say: Say = print,
) -> SweepTable:
    """Run every row of changes with every combination of the axes' values; finished cells are not made again.

    Args:
        base: a spec, its file, or the file of a sweep.
        axes: dotted path -> values, as in `{"seed": (0, 1, 2)}`; they replace those of the file with the same path.
        rows: name -> dotted path -> value, beside those of the file.
        out: folder of the run folders and the table. Default: that of the file, or `runs/NAME`.
        say: where progress goes.

    Returns:
        The table of all cells that are finished; `failed` names those that are not, with the reason.

    Raises:
        SpecError: a cell is wrong; none was started.
        Interrupted: a signal came; what is finished is in the table's files. It is a KeyboardInterrupt.
    """
    if isinstance(base, RunSpec):
        fields = base.model_dump(mode="json", exclude_unset=True)
        spec = SweepSpec(name=f"{base.name}-sweep", base=fields)
    else:
        spec = read_sweep_spec(Path(base))
    update = {"axes": {**spec.axes, **_axes(axes or {})}, "rows": {**spec.rows, **(rows or {})}}
    if out is not None:
        update["out"] = Path(out)
    plan = grid(parse_as(SweepSpec, {**dict(spec), **update}), registry().absences)
    require_own_folders(plan.cells)
    with Stop() as stop:
        ended = run_cells(plan, CellShare(), stop, say)
    results = write_results(plan, ended)
    if stop.signal is not None:
        raise Interrupted(f"{plan.name}: stopped by {stop.signal}; the same call goes on", stop.signal)
    return results


def _axes(by_path: Mapping[str, Sequence[object]]) -> dict[str, tuple[object, ...]]:
    """Raises SpecError where values are no sequence; a text would otherwise be swept letter by letter."""
    axes = {}
    for key, values in by_path.items():
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise SpecError(f"axes.{key}: must be a sequence of values, as in (0, 1, 2), found {values!r}")
        axes[key] = tuple(values)
    return axes
