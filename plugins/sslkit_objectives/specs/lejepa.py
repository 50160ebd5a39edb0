"""Spec of LeJEPA. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.plugin import Count, ObjectiveSpec, Problem, Projection, ViewName, completed_by

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

HEAD = Projection(layers=3, hidden=2048, out=16, bias=True, out_bias=True)


@final
class LeJEPA(ObjectiveSpec):
    """LeJEPA (Balestriero, LeCun 2025): crops of an image agree, and embeddings are normal in every direction.

    No teacher, predictor or stopped gradient; SIGReg keeps embeddings apart.
    """

    kind: Literal["lejepa"] = "lejepa"
    view: ViewName = "global"
    """View of the large crops; at least 2 (`MINIMAL.md`: 4; `README.md`: 2)."""
    local: ViewName | None = None
    """View of further, smaller crops (`README.md`: 6 of 98 pixels); null for none."""
    projector: Annotated[Projection, completed_by(HEAD)] = HEAD
    """Head (`MINIMAL.md`: 3 layers with biases, 2048 and 16). All crops share the statistics of its batch norm."""
    sigreg: float = Field(0.02, gt=0, lt=1)
    """Weight lambda of SIGReg; that of the distance is 1 less it (`MINIMAL.md`: 0.02; lightly: 0.05)."""
    directions: Count = 256
    """Random directions, new at each step (`MINIMAL.md`: 256; lightly and `README.md`: 1024)."""
    center: Literal["all", "global"] = "all"
    """Crops whose mean all crops are drawn to (`MINIMAL.md`: all; lightly: those of `view`)."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=Projection(hidden=16, out=8), directions=8, local="local")

    @property
    def min_batch(self) -> int:
        return 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.local == self.view:
            yield Problem("local", "is `view` itself; leave it out")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        if self.local is None:
            yield Problem("center", "has no effect without `local`; give that too, or leave this out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.lejepa import LeJEPAObjective, Prediction

        prediction = Prediction(self.center, self.sigreg, self.directions)
        return LeJEPAObjective(self.view, self.local, self.projector, prediction, env)
