"""Agreement of ranks on stopping, by an all-reduce that overlaps the next step."""

from __future__ import annotations

from typing import cast, final

import torch
import torch.distributed as dist

from sslkit.runtime.parallel import Parallel


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
