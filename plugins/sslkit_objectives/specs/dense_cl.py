"""Spec of DenseCL. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.plugin import Count, ObjectiveSpec, Problem, Projection, Reference, ViewName, completed_by

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

HEAD = Projection(layers=2, norm=False, bias=True, out_bias=True)
KeyNet = Annotated[str, Reference("average", settings="{momentum: 0.999, update: before_forward}")]


@final
class DenseCL(ObjectiveSpec):
    """DenseCL (Wang et al. 2021): MoCo v2, and the same contrast for each patch with its match in the other crop.

    The run needs the net that makes keys: `nets: {teacher: {momentum: 0.999, update: before_forward}}`.
    """

    kind: Literal["dense_cl"] = "dense_cl"
    view: ViewName = "global"
    """View of queries: its first crop. The others are keys, unless `key_view` is given."""
    key_view: ViewName | None = None
    """View of keys; then both views need 1 crop, and each net makes one pass."""
    net: KeyNet = "teacher"
    """The moving average that makes keys."""
    projector: Annotated[Projection, completed_by(HEAD)] = HEAD
    """Head of images (DenseCL: 2 layers with biases, as wide as the features, 128 out, no batch norm)."""
    dense_projector: Annotated[Projection, completed_by(HEAD)] = HEAD
    """Head of patches (DenseCL: the same, as 1 x 1 convolutions)."""
    dense_weight: float = Field(0.5, ge=0, le=1)
    """Weight of the loss of patches; that of images is 1 less it (DenseCL: 0.5)."""
    temperature: float = Field(0.2, gt=0)
    """What cosines are divided by (DenseCL: 0.2)."""
    queue: Count = 65536
    """Keys of earlier batches, for each of the two losses (DenseCL: 65536)."""

    @classmethod
    def example(cls) -> Self:
        small = Projection(hidden=16, out=8)
        return cls(projector=small, dense_projector=small, queue=12)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.key_view == self.view:
            yield Problem("key_view", "is `view` itself; leave it out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.contrastive.dense_cl import Contrast, DenseCLObjective, Heads
        from sslkit_objectives.sides import Sides

        sides = Sides(self.view, self.key_view, None, "drop", self.net)
        contrast = Contrast(self.temperature, self.queue, self.dense_weight)
        return DenseCLObjective(sides, Heads(self.projector, self.dense_projector), contrast, env)
