"""Nets beside the student: moving averages, or networks of their own. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, final

from sslkit.core.problem import Problem
from sslkit.specs.base import Spec
from sslkit.specs.families import BackboneField
from sslkit.specs.schedule import Value, ends

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


@final
class NetSpec(Spec):
    """A moving average of the student backbone, or a frozen network."""

    backbone: BackboneField | None = None
    """A network of its own, with the weights of its `checkpoint`, that never changes. Default: a moving average."""
    momentum: Value = 0.996
    """Share of the old average kept at each step (DINO: 0.996, rising to 1)."""
    update: Literal["after_step", "before_forward"] = "after_step"
    """When the average moves: after the optimizer (DINO, BYOL, iBOT) or before the forward (MoCo v2, v3)."""
    batch_norm: Literal["batch", "average"] = "batch"
    """Batch norm of a moving average: statistics of its own batch (DINO, BYOL, MoCo), or averages of the student's."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """A share lies between 0 and 1."""
        # values and not what was set: the lock of a run sets every field
        default = type(self)()
        moving = [n for n in ("batch_norm", "momentum", "update") if getattr(self, n) != getattr(default, n)]
        if self.backbone is not None and moving:
            yield Problem(
                moving[0], "a network of its own (`backbone`) is frozen: leave this out, or `backbone`"
            )
        if not all(0 <= momentum <= 1 for momentum in ends(self.momentum)):
            yield Problem("momentum", f"must stay between 0 and 1, found {self.momentum}")
