"""Spec of NNCLR. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.plugin import Count, ObjectiveSpec, Problem, Projection, ViewName, completed_by
from sslkit_objectives.specs.head_widths import width_problems

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

HEAD = Projection(layers=3, hidden=2048, out=256, bias=True, out_bias=True, out_norm="affine")
PREDICTOR = Projection(layers=2, hidden=4096, out=256, bias=True, out_bias=True)


@final
class NNCLR(ObjectiveSpec):
    """NNCLR (Dwibedi et al. 2021): the nearest neighbor of a crop is the positive of another crop's prediction.

    Neighbors come from a support set of earlier embeddings.
    """

    kind: Literal["nnclr"] = "nnclr"
    view: ViewName = "global"
    """View whose crops are compared; at least 2."""
    projector: Annotated[Projection, completed_by(HEAD)] = HEAD
    """Head (NNCLR: 3 layers of 2048, 256 out, batch norm after each)."""
    predictor: Annotated[Projection, completed_by(PREDICTOR)] = PREDICTOR
    """Head after it (NNCLR: 2 layers, 4096 and 256)."""
    temperature: float = Field(0.1, gt=0)
    """What cosines are divided by (NNCLR: 0.1; solo-learn: 0.2)."""
    support: Count = 65536
    """Earlier embeddings among which neighbors are looked for (solo-learn: 65536; NNCLR: 98304)."""

    @classmethod
    def example(cls) -> Self:
        small = Projection(hidden=16, out=8)
        return cls(projector=small, predictor=small, support=40)

    @property
    def min_batch(self) -> int:
        return 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from width_problems(self.projector, self.predictor)
        if self.support < run.batch_size:
            yield Problem(
                "support", f"{self.support} places do not hold the {run.batch_size} embeddings of one step"
            )

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.contrastive.nnclr import Heads, NNCLRObjective

        heads = Heads(self.projector, self.predictor)
        return NNCLRObjective(self.view, heads, self.temperature, self.support, env)
