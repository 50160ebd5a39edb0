"""Which features of which net evaluations read. Torch-free."""

from __future__ import annotations

from typing import Literal, Self, final

from pydantic import Field, model_validator

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
    pyramid: tuple[Count, ...] = ()
    """With `pool: mean`, parts along the first axis of patches, the time of clips, whose means are joined: `[1, 2, 4]`
    gives 7 vectors in one (a temporal pyramid). Default: one mean of all."""
    head: str | None = None
    """Head of an objective that features go through, as `moco_v2.projector` (MoCo on CIFAR-10). Default: none."""
    crop: float = Field(1.0, gt=0, le=1)
    """Share of the resized image's shorter side that the center crop keeps (ImageNet: 0.875)."""
    batch_size: Count = 256
    """Images a forward; part of the readout because float sums depend on it."""

    @model_validator(mode="after")
    def _pyramid_fits(self) -> Self:
        if self.pyramid and self.pool != "mean":
            raise ValueError("`pyramid` is of means; set `pool: mean` too, or leave it out")
        if self.pyramid and self.head is not None:
            raise ValueError("`pyramid` makes wider features than `head` reads; keep one of them")
        return self
