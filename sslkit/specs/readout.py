"""Which features of which net evaluations read. Torch-free."""

from __future__ import annotations

from typing import Literal, final

from pydantic import Field

from sslkit.specs.base import Count, Spec
from sslkit.specs.references import NetName, ViewName


@final
class Readout(Spec):
    """How a run turns its network into features. Every evaluator of the run uses this one and records it."""

    net: NetName = "student"
    """The student, or a name under `nets`."""
    view: ViewName | None = None
    """View whose size and normalization images take. Default: the first."""
    layer: int = Field(-1, gt=-1000, lt=1000)
    """Block whose output is read; -1 is the last, after the final norm."""
    pool: Literal["cls", "mean"] = "cls"
    """Class token, or the mean of the patch tokens."""
    head: str | None = None
    """Head of an objective that features go through, as `moco_v2.projector` (MoCo on CIFAR-10). Default: none."""
    crop: float = Field(1.0, gt=0, le=1)
    """Share of the resized image's shorter side that the center crop keeps (ImageNet: 0.875)."""
    batch_size: Count = 256
    """Images a forward; part of the readout because float sums depend on it."""
