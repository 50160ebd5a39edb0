"""Agreement of ranks: on stopping, by an all-reduce that overlaps the next step, and before the first one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar, cast, final

import numpy as np
import torch
import torch.distributed as dist

from sslkit.errors import SpecError, SslkitError
from sslkit.runtime.parallel import Parallel
from sslkit.specs.run import RunSpec

T = TypeVar("T")


@final
class Agreement:
    """Whether any rank wants to stop. Every rank must ask after every step."""

    def __init__(self, parallel: Parallel) -> None:
        """With several ranks each answer is to the previous question: the exchange overlaps the next step."""
        self._alone = parallel.world == 1
        # on the CPU: no device waits
        self._group = None if self._alone else cast("dist.ProcessGroup", dist.new_group(backend="gloo"))
        self._pending: tuple[torch.Tensor, dist.Work] | None = None

    def any(self, wants: bool) -> bool:
        """Whether a rank wanted to stop at the previous call; with one process, whether it `wants` to now."""
        if self._alone:
            return wants
        answer = self._answer()
        flag = torch.tensor(float(wants))
        work = dist.all_reduce(flag, group=self._group, async_op=True)
        assert work is not None, "of an asynchronous call"
        self._pending = (flag, work)
        return answer

    def _answer(self) -> bool:
        if self._pending is None:
            return False
        flag, work = self._pending
        work.wait()
        return bool(flag > 0)


def from_first_rank(parallel: Parallel, make: Callable[[], T]) -> T:
    """What the first rank makes, on every rank; all must ask.

    Raises:
        SslkitError: it failed; the other ranks say so too.
    """
    results: list[T] = []
    on_first_rank(parallel, lambda: results.append(make()))
    if parallel.world > 1:
        shared: list[T | None] = [*results] or [None]
        dist.broadcast_object_list(shared, src=0)
        return cast("T", shared[0])
    return results[0]


def on_first_rank(parallel: Parallel, act: Callable[[], object]) -> None:
    """Let the first rank `act`, while the others wait.

    Raises:
        SslkitError: it failed; the other ranks, who would else wait for it, say so too.
    """
    error: SslkitError | None = None
    if parallel.first:
        try:
            act()
        except SslkitError as refused:
            error = refused
    if parallel.any(error is not None):
        raise error or SslkitError("the first rank cannot go on; its message says why")


def require_one_spec(spec: RunSpec, parallel: Parallel) -> None:
    """Pass where all ranks were given the same run.

    Raises:
        SpecError: they were not, as by a job whose tasks are runs of their own.
    """
    if parallel.world == 1:
        return
    digest = hashlib.sha256(spec.model_dump_json().encode()).digest()
    row = torch.from_numpy(np.frombuffer(digest, np.uint8).copy()).to(parallel.device)
    if parallel.spread(row.float()).any():
        raise SpecError(
            f"{parallel.world} ranks were started together, of which some have another spec or folder. Give all the "
            "same, to share one run; or set WORLD_SIZE=1, so that each makes a run of its own"
        )
