"""Specs of joint embeddings that use second moments: TiCo and W-MSE. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.plugin import Count, ObjectiveSpec, Problem, Projection, Reference, ViewName, completed_by

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

TICO_HEAD = Projection(layers=2, hidden=4096, out=256, out_bias=True)
WMSE_HEAD = Projection(layers=2, hidden=1024, out=64, bias=True, out_bias=True)
SMALL = Projection(hidden=16, out=8)
"""Widths of heads in examples."""

KeyNet = Annotated[
    str, Reference("average", settings="{momentum: {start: 0.99, end: 1.0}, update: before_forward}")
]


@final
class TiCo(ObjectiveSpec):
    """TiCo (Zhu et al. 2022): agree with a moving average, along directions that embeddings seldom take.

    The run needs the net that makes keys, as in
    `nets: {teacher: {momentum: {start: 0.99, end: 1.0}, update: before_forward}}`.
    """

    kind: Literal["tico"] = "tico"
    view: ViewName = "global"
    """View of queries: its first crop. The others are keys, unless `key_view` is given."""
    key_view: ViewName | None = None
    """View of keys; then both views need 1 crop, and no pass is wasted. Not if `symmetric`."""
    net: KeyNet = "teacher"
    """The moving average that makes keys."""
    projector: Annotated[Projection, completed_by(TICO_HEAD)] = TICO_HEAD
    """Head of both nets (TiCo: 2 layers, 4096 and 256, a bias last)."""
    contrast: float = Field(8.0, ge=0)
    """Weight rho of the term that keeps embeddings apart (TiCo, lightly: 8; the repository: 20)."""
    memory: float = Field(0.9, ge=0, lt=1)
    """Share beta of the old second moments kept at each step (TiCo: 0.9)."""
    symmetric: bool = False
    """Each crop is a query and a key in turn, and losses are averaged."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=SMALL)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.key_view is not None and self.symmetric:
            yield Problem("key_view", "goes with `symmetric: false`; for both directions give `view` 2 crops")
        if self.key_view == self.view:
            yield Problem("key_view", "is `view` itself; leave it out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.tico import Contrast, TiCoObjective
        from sslkit_objectives.sides import Sides

        sides = Sides(self.view, self.key_view, None, "drop", self.net)
        contrast = Contrast(self.contrast, self.memory, self.symmetric)
        return TiCoObjective(sides, self.projector, contrast, env)


@final
class WMSE(ObjectiveSpec):
    """W-MSE (Ermolov et al. 2020): crops agree after their embeddings have been whitened."""

    kind: Literal["wmse"] = "wmse"
    view: ViewName = "global"
    """View whose crops are compared; at least 2 (W-MSE: 2 or 4)."""
    projector: Annotated[Projection, completed_by(WMSE_HEAD)] = WMSE_HEAD
    """Head (W-MSE: 2 layers with biases, 1024 and 64). All crops share the statistics of its batch norm."""
    size: Count | None = 128
    """Images that are whitened together; it divides the batch and exceeds `projector.out`, best twice (W-MSE: 128;
    null: the whole batch)."""
    draws: Count = 1
    """Random partitions of the batch of which the mean is taken (W-MSE: 1, or 4 where groups are large)."""
    eps: float = Field(0.0, ge=0, lt=1)
    """Share of the identity in covariances (W-MSE: 0)."""
    normalize: bool = True
    """Compare directions, 2 - 2 cos; false: mean squared differences (W-MSE: true)."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=Projection(hidden=16, out=2), size=None, eps=0.1)

    @property
    def min_batch(self) -> int:
        return self.size or self.projector.out + 1

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        size = self.size or run.batch_size
        if run.batch_size % size:
            yield Problem("size", f"{size} does not divide the batch of {run.batch_size} images")
        if size <= self.projector.out:
            yield Problem(
                "size",
                f"{size} images have no invertible covariance of {self.projector.out} dimensions; use more images, "
                "or a smaller `projector.out`",
            )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        if self.draws > 1 and (self.size or run.batch_size) == run.batch_size:
            yield Problem("draws", "has no effect where the whole batch is one group; leave it out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.wmse import Whitening, WMSEObjective

        whitening = Whitening(self.size, self.draws, self.eps, self.normalize)
        return WMSEObjective(self.view, self.projector, whitening, env)
