"""Spec of feature regularization for masked objectives. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, final

from pydantic import Field

from sslkit.plugin import Problem, Spec

if TYPE_CHECKING:
    from sslkit.plugin import RunSpec
    from sslkit_objectives.regularizers.regularization import Regularization


@final
class Regularizer(Spec):
    """loss = masked loss + `weight` * term, the term over pooled features of the masked pass."""

    term: Literal["variance", "uniformity"] = "variance"
    """VICReg's hinge on each dimension's deviation, or Wang and Isola's uniformity on the sphere."""
    weight: float = Field(0.01, gt=0)
    """Lambda (M-MAE: 0.01 for its own term)."""
    covariance: float = Field(0.0, ge=0)
    """Share of VICReg's covariance added to `variance` (VICReg: 1 to 25, which is 0.04)."""

    @property
    def min_batch(self) -> int:
        return 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Covariance goes with variance."""
        if self.covariance and self.term != "variance":
            yield Problem("covariance", f"goes with term 'variance' only, found {self.term!r}; set it to 0")

    def build(self) -> Regularization:
        """Its numbers, for the objective."""
        from sslkit_objectives.regularizers.regularization import Regularization

        return Regularization(self.term, self.weight, self.covariance)
