"""Conformance check on two ranks, each a process: their steps equal those of one process."""

from __future__ import annotations

import atexit
import functools
import io
import os
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import IO, NamedTuple, final

import torch
import torch.distributed as dist

from sslkit.errors import PluginError, SpecError
from sslkit.runtime.parallel import DataParallel, Single
from sslkit.specs.run import RunSpec
from sslkit.testing.kit_report import NotOffered
from sslkit.testing.promises.training_promises import CPU
from sslkit.testing.steps import Left, differing, left_behind, with_descent
from sslkit.train.compose import compose

WORLD = 2
PATIENCE = 120.0
"""Seconds that ranks may take for a few steps of the kit's run, on a busy machine."""
RANK = """
import pathlib, sys
from sslkit.testing.promises.rank_promises import main
main(int(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""
"""The program of a rank, which takes its number and a folder that all share."""
GRACE = 15.0
"""Seconds between the first rank's answer and the last one's; their steps end together."""
HINT = (
    "gather what compares images from all ranks (`sslkit.interfaces.all_rows`), give rows to `commit`, and draw "
    "nothing from torch's generator"
)


def require_same_on_ranks(run: RunSpec) -> None:
    """Hold steps of two ranks, each with half of the batch, against steps of one process.

    Raises:
        PluginError: they differ, or the ranks do not end.
        NotOffered: the run refuses ranks, drops units at random, or cannot be sent to another process.
    """
    run = with_descent(run)
    try:
        data = pickle.dumps(run)
    except Exception as error:  # of a spec that was made in a function, say
        raise NotOffered(f"cannot be sent to another process: {error}") from None
    expected = left_behind(run, Single(CPU))
    for name, wrong in differing(ranks().steps(data), expected):
        raise PluginError(
            f"{name} of a step on {WORLD} ranks are others than in one process: {wrong}; {HINT}"
        )


@final
class Ranks:
    """Processes that form a group: started at the first steps, kept for the next ones, replaced after an error."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        atexit.register(self.stop)

    def steps(self, data: bytes) -> Left:
        """What the first rank says is left behind by the pickled run in `data`."""
        if not self._processes:
            self._start()
        answers: list[Answer | None] = [None] * WORLD
        try:
            answers = self._ask(data)
        finally:
            if any(answer is None or answer.error for answer in answers):
                self.stop()
        for answer in filter(None, answers):
            if answer.refused:
                raise NotOffered(answer.error)
            if answer.error:
                raise PluginError(f"fails on {WORLD} ranks: {answer.error}")
        first = answers[0]
        if first is None or first.left is None or None in answers:
            raise PluginError(
                f"{WORLD} ranks did not end their steps; they must call the same collectives, whatever images they have"
            )
        return first.left

    def stop(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.communicate()
        self._processes = []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", RANK, str(rank), self._folder.name],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for rank in range(WORLD)
        ]

    def _ask(self, data: bytes) -> list[Answer | None]:
        for process in self._processes:
            assert process.stdin is not None, "it was asked for"
            write(process.stdin, data)
        with ThreadPoolExecutor(WORLD) as pool:
            futures = [pool.submit(_answer, process.stdout) for process in self._processes]
            pending = wait(futures, PATIENCE, FIRST_COMPLETED).not_done
            if wait(pending, GRACE).not_done:  # one that failed keeps the others waiting for it
                self.stop()  # whoever reads then finds the end
        return [future.result() for future in futures]


class Answer(NamedTuple):
    """Of one rank."""

    left: Left | None
    error: str = ""
    refused: bool = False
    """Whether the error is a refusal of what the run asks for."""


@functools.cache
def ranks() -> Ranks:
    """Those of this process."""
    return Ranks()


def _answer(stream: IO[bytes] | None) -> Answer | None:
    """The next one of a rank; None where it ended."""
    assert stream is not None, "it was asked for"
    data = read(stream)
    return None if data is None else torch.load(io.BytesIO(data), weights_only=False)


def write(stream: IO[bytes], data: bytes) -> None:
    """Send `data`, its length first."""
    stream.write(len(data).to_bytes(8, "big") + data)
    stream.flush()


def read(stream: IO[bytes]) -> bytes | None:
    """What `write` sent; None at the end of the stream."""
    head = stream.read(8)
    size = int.from_bytes(head, "big")
    data = stream.read(size) if len(head) == 8 else b""
    return data if len(head) == 8 and len(data) == size else None


def answer_to(data: bytes, rank: int) -> Answer:
    """What `rank` makes of the pickled run in `data`."""
    parallel = DataParallel(CPU, rank, WORLD)
    try:
        run: RunSpec = pickle.loads(data)  # noqa: S301, from the parent process
        try:
            compose(run, parallel)
        except SpecError as error:  # it is refused before the first step
            return Answer(None, f"refused: {error}", refused=True)
        return Answer(left_behind(run, parallel))
    except NotOffered as reason:
        return Answer(None, str(reason), refused=True)
    except Exception as error:  # a plugin may raise anything
        return Answer(None, f"{type(error).__name__}: {error}")


def main(rank: int, folder: Path) -> None:
    """Be one of the ranks: read runs from standard input until that ends."""
    runs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever plugins print must not stand among answers
    dist.init_process_group(
        "gloo",
        init_method=(folder / "group").as_uri(),
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=PATIENCE),
    )
    torch.set_num_threads(1)
    while (data := read(runs)) is not None:
        saved = io.BytesIO()
        torch.save(answer_to(data, rank), saved)
        write(answers, saved.getvalue())
