"""Data-loading worker processes; a failure becomes one line for people, within seconds."""

from __future__ import annotations

import contextlib
import copy
import errno
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from multiprocessing.util import Finalize
from pathlib import Path
from typing import NamedTuple, TypeVar, cast, final

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.data import DataLoader, Dataset

from sslkit.errors import WorkerError
from sslkit.runtime.line_file import Warn
from sslkit.runtime.signals import Handler, leave_signals

Index = TypeVar("Index")
Batch = TypeVar("Batch")

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108, whose free space is read
PREFETCH = 2
"""Batches that each worker has ready, torch's default."""
LOOK_EVERY = 1
"""Seconds between looks at whether the workers live, while a batch is waited for."""
PATIENCE = 600.0
"""Seconds without a batch after which workers that live count as stuck."""
END = object()
"""What stands for the end of the plan."""
REAP = 5.0
"""Seconds that a killed process may take to be gone."""
DUMP = 60.0
"""Seconds that a process may take to write its core."""


class SharedMemoryError(RuntimeError):
    """A worker could not put a batch into shared memory."""


class Loading(NamedTuple):
    """How a loader is set up."""

    workers: int
    """Processes; 0 loads in this one."""
    batch_field: str
    """The field of the spec that sets how many images a batch has."""
    warn: Warn = lambda text: None
    pin_memory: bool = False


def batches(
    dataset: Dataset[object],
    plan: Iterable[list[Index]],
    collate: Callable[..., Batch],
    how: Loading,
) -> Iterator[Batch]:
    """The batches of `dataset` in the order of `plan`, as `collate` makes them.

    Args:
        dataset: items by index, or `__getitems__`.
        plan: the indices of each batch.
        collate: makes a batch of items, in the worker.
        how: processes, and what to name where they fail.

    Raises:
        WorkerError: a worker died, cannot be started, has no shared memory or is stuck.
    """
    with _uncounted():
        loader = DataLoader(
            dataset,
            batch_sampler=plan,
            num_workers=how.workers,
            collate_fn=_Shared(collate) if how.workers else collate,
            pin_memory=how.pin_memory,
            prefetch_factor=PREFETCH if how.workers else None,
            timeout=LOOK_EVERY if how.workers else 0,
            worker_init_fn=_begin,
            multiprocessing_context=_context() if how.workers else None,
            generator=torch.Generator(),  # otherwise starting it would advance torch's own
        )
    loaded = _Watched(loader, how).batches() if how.workers else iter(loader)
    return cast("Iterator[Batch]", loaded)


@final
class _Flag:
    """An event that nobody locks.

    A worker that is killed while it looks at an event of `multiprocessing` keeps its lock, and torch, which sets the
    event when it leaves a loader, would wait for that lock forever.
    """

    def __init__(self) -> None:
        self._byte = RawValue("b", 0)

    def is_set(self) -> bool:
        return bool(self._byte.value)

    def set(self) -> None:
        self._byte.value = 1


def _context() -> BaseContext:
    """The default way to start processes, with an event that outlives whoever looks at it."""
    context = copy.copy(multiprocessing.get_context(multiprocessing.get_start_method()))
    context.__dict__["Event"] = _Flag
    return context


def _begin(worker: int) -> None:
    """In each worker as it begins. Torch's own looks after the parent, which of a fork server is never the run."""
    leave_signals(worker)
    run = multiprocessing.parent_process()
    if run is not None and run.pid != os.getppid():
        threading.Thread(target=_end_with, args=(run,), daemon=True).start()


def _end_with(run: BaseProcess) -> None:
    """Else a worker of a run that was killed would wait for work forever, and keep its server alive."""
    run.join()
    os._exit(1)


@contextlib.contextmanager
def _uncounted() -> Iterator[None]:
    """Without torch's warning that workers are more than cores: they wait for files, and ours are watched."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


def as_it_is(batch: Batch) -> Batch:
    """The collation of items that are batches already."""
    return batch


@final
class _Shared:
    """Puts a batch into shared memory in the worker itself.

    The queue's own thread would do it too, but print its error, drop the batch and let the run wait for it forever.
    """

    def __init__(self, collate: Callable[..., object]) -> None:
        self._collate = collate

    def __call__(self, items: object) -> object:
        batch = self._collate(items)
        try:
            return tree_map_only(Tensor, Tensor.share_memory_, batch)
        except (RuntimeError, OSError) as error:
            raise SharedMemoryError(str(error)) from None


@final
class _Watched:
    """The processes behind a loader."""

    def __init__(self, loader: DataLoader[object], how: Loading) -> None:
        self._loader, self._how = loader, how
        self._processes: list[BaseProcess] = []
        # also before multiprocessing itself waits for them at exit, with a signal that they ignore
        self._end = Finalize(self, _kill, args=(self._processes,), exitpriority=10)

    def batches(self) -> Iterator[object]:
        """Until the plan ends; no process is left behind, however this ends."""
        handler, batches, first = None, None, True
        try:
            batches = self._start()
            handler = _mute()
            while (batch := self._next(batches)) is not END:
                if first:
                    self._weigh(batch)
                    first = False
                yield batch
        except GeneratorExit:
            if self._how.pin_memory:
                batches = None  # torch ends the thread that pins before the workers whose batches it reads
            raise
        finally:
            self._end()
            if handler is not None:
                signal.signal(signal.SIGCHLD, handler)

    def _start(self) -> Iterator[object]:
        before = set(multiprocessing.active_children())
        try:
            with _uncounted():
                return iter(self._loader)
        except OSError as error:
            raise WorkerError(
                f"{self._how.workers} worker processes cannot be started: {error.strerror}. {self._fewer()}"
            ) from error
        finally:
            self._processes += [p for p in multiprocessing.active_children() if p not in before]

    def _next(self, batches: Iterator[object]) -> object:
        begun = time.monotonic()
        while True:
            try:
                return next(batches, END)
            except SharedMemoryError:
                raise WorkerError(self._no_shared_memory()) from None
            except (RuntimeError, OSError, EOFError) as error:
                if reason := self._cause(error):
                    raise WorkerError(reason) from error
                if not str(error).startswith("DataLoader timed out"):
                    raise
            if time.monotonic() - begun > PATIENCE:
                raise WorkerError(
                    f"the worker processes live but have given no batch for {PATIENCE:.0f} s: storage that does not "
                    f"answer, or a deadlock in a plugin. `workers: 0` (now {self._how.workers}) shows where it stands"
                )

    def _cause(self, error: Exception) -> str | None:
        """Why workers fail, as far as they do."""
        if "Too many open files" in str(error) or getattr(error, "errno", 0) == errno.EMFILE:
            return f"too many open files, which batches from workers need: raise `ulimit -n`. {self._fewer()}"
        if isinstance(error, EOFError | ConnectionError):
            self._await_end()
        codes = [p.exitcode for p in self._processes if p.exitcode]
        if not codes:
            return None
        if codes[0] == -getattr(signal, "SIGKILL", 9):
            return (
                "a worker process was killed (SIGKILL), as the system does when memory runs out: each worker holds "
                f"its own images and batches. {self._fewer()}"
            )
        if codes[0] == -getattr(signal, "SIGBUS", 0):
            return self._no_shared_memory()
        ended = f"by {signal.Signals(-codes[0]).name}" if codes[0] < 0 else f"with exit code {codes[0]}"
        return f"a worker process was ended {ended}. `workers: 0` (now {self._how.workers}) shows more of the cause"

    def _await_end(self) -> None:
        """Until a worker is gone: a core may be dumped first; its files close before its exit code is there."""
        by_sentinel = {process.sentinel: process for process in self._processes}
        for sentinel in multiprocessing.connection.wait(list(by_sentinel), timeout=DUMP):
            by_sentinel[cast("int", sentinel)].join(REAP)

    def _fewer(self) -> str:
        return f"Use fewer `workers` (now {self._how.workers}) or a smaller `{self._how.batch_field}`"

    def _no_shared_memory(self) -> str:
        size = _shared_memory()
        of = "" if size is None else f" ({SHARED_MEMORY} has {size / 2**20:.0f} MiB)"
        return f"worker processes ran out of shared memory{of}. {self._fewer()}, or enlarge it (Docker: --shm-size=8g)"

    def _weigh(self, batch: object) -> None:
        """Tell of shared memory that cannot hold what all workers have ready together."""
        tensors = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]
        needed = sum(x.numel() * x.element_size() for x in tensors) * (PREFETCH * self._how.workers + 1)
        size = _shared_memory()
        if size is not None and needed > size:
            self._how.warn(
                f"batches of {self._how.workers} workers may take {needed / 2**20:.0f} MiB of shared memory. "
                + self._no_shared_memory().replace("ran out of", "may run out of")
            )


def _kill(processes: Sequence[BaseProcess]) -> None:
    """End what still runs; workers leave signals to this process, so only SIGKILL reaches them."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join(REAP)


def _mute() -> Handler:
    """Take away torch's handler of SIGCHLD, and return it; None where there is none.

    It raises in the midst of whatever this process does when a worker dies, and a step that is cut off so leaves
    weights that belong to no step. Here dead workers show when a batch is asked for.
    """
    number = getattr(signal, "SIGCHLD", None)  # Windows has none
    if number is None or threading.current_thread() is not threading.main_thread():
        return None
    handler = signal.getsignal(number)
    if not str(getattr(handler, "__module__", "")).startswith("torch.utils.data"):
        return None
    return signal.signal(number, signal.SIG_DFL)


def _shared_memory() -> int | None:
    """Bytes of shared memory; None where the system does not tell."""
    try:
        filesystem = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return None
    return filesystem.f_frsize * filesystem.f_blocks
