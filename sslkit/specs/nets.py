"""Nets beside the student: moving averages, copies of the student, or networks of their own. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, final

from sslkit.core.problem import Problem
from sslkit.specs.base import Count, Spec
from sslkit.specs.families import BackboneField
from sslkit.specs.references import STUDENT, CopiedName, TrainedName
from sslkit.specs.schedule import Period, Value, ends, steps_of

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


@final
class Refresh(Spec):
    """When a copy takes new weights (DINOv3's Gram teacher: a moving average's, 3 times, 10,000 steps apart)."""

    of: CopiedName = "student"
    """Whose weights it takes: the student's, or those of a moving average (DINOv3: the teacher's)."""
    every: Period
    """When: at every multiple of so many epochs or steps (DINOv3: `10000 steps`)."""
    start: Period | None = None
    """Not before so many epochs or steps are done (DINOv3: `1010000 steps`). Default: the first time is `every`."""
    count: Count | None = None
    """How many times at most (DINOv3: 3). Default: until the end."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """`end` is no time to take weights for training."""
        for field in ("every", "start"):
            period = getattr(self, field)
            if period is not None and steps_of(period, 1) is None:
                yield Problem(field, f"says when to take new weights, found {period!r}; give epochs or steps")

    def due(self, done: int, steps_per_epoch: int) -> bool:
        """Whether to take new weights after `done` steps."""
        every = steps_of(self.every, steps_per_epoch) or 0
        start = steps_of(self.start or self.every, steps_per_epoch) or 0
        if not every or done < start or done % every:
            return False
        return self.count is None or done // every - (start - 1) // every <= self.count


CacheType = Literal["exact", "float16"]
"""What cached tokens are stored in: the type that they are computed in, float32 at least, or float16."""


@final
class NetSpec(Spec):
    """A moving average of a trained network, a copy of it, or a frozen network."""

    of: TrainedName = "student"
    """Whose average or copy it is: the student's, or that of a name under `towers`."""
    backbone: BackboneField | None = None
    """A network of its own, with the weights of its `checkpoint`, that never changes. Default: a moving average."""
    refresh: Literal["never"] | Refresh | None = None
    """A frozen copy of the weights that training begins with, and when it takes others. Default: a moving average."""
    momentum: Value = 0.996
    """Share of the old average kept at each step (DINO: 0.996, rising to 1)."""
    update: Literal["after_step", "before_forward"] = "after_step"
    """When the average moves: after the optimizer (DINO, BYOL, iBOT) or before the forward (MoCo v2, v3)."""
    batch_norm: Literal["batch", "average"] = "batch"
    """Batch norm of a moving average: statistics of its own batch (DINO, BYOL, MoCo), or averages of the student's."""
    cache: CacheType | None = None
    """Compute the tokens of every image once and keep them on disk; for a net that never changes, on views without
    random changes. Default: it runs in every step."""

    @property
    def is_average(self) -> bool:
        """Whether it is a moving average of a trained network."""
        return self.backbone is None and self.refresh is None

    @property
    def refreshed(self) -> Refresh | None:
        """When a copy takes other weights; None where it never does, and of other nets."""
        return self.refresh if isinstance(self.refresh, Refresh) else None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """A share lies between 0 and 1; what is frozen does not move."""
        # values and not what was set: the lock of a run sets every field
        default = type(self)()
        moving = [n for n in ("batch_norm", "momentum", "update") if getattr(self, n) != getattr(default, n)]
        if self.backbone is not None and moving:
            yield Problem(
                moving[0], "a network of its own (`backbone`) is frozen: leave this out, or `backbone`"
            )
        elif self.refresh is not None and moving:
            yield Problem(
                moving[0], "a copy (`refresh`) does not move between refreshes: leave this out, or `refresh`"
            )
        if self.backbone is not None and self.refresh is not None:
            yield Problem(
                "refresh",
                "a network of its own (`backbone`) takes no weights of the student: keep one of them",
            )
        if self.cache is not None and self.backbone is None and self.refresh != "never":
            yield Problem(
                "cache",
                "is for a net that never changes; give it a `backbone` or `refresh: never`, or leave this out",
            )
        yield from self._of_another(run)
        if not all(0 <= momentum <= 1 for momentum in ends(self.momentum)):
            yield Problem("momentum", f"must stay between 0 and 1, found {self.momentum}")

    def _of_another(self, run: RunSpec) -> Iterator[Problem]:
        """A network of its own is of nobody, and a copy takes the weights of whom it is a copy."""
        if self.backbone is not None and self.of != STUDENT:
            yield Problem("of", "a network of its own (`backbone`) has weights of its own: leave this out")
        copied = self.refreshed
        if copied is None or self.backbone is not None or copied.of not in (*run.trained, *run.nets):
            return
        if run.original(copied.of) != self.of:
            yield Problem(
                "refresh.of",
                f"takes the weights of {copied.of!r}, but it is a copy of {self.of!r}; name that one, or its average",
            )
