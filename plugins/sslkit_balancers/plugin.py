"""Specs of the built-in balancers. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, final

from pydantic import Field

from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Problem, Spec
from sslkit.spec.families import BalancerSpec

if TYPE_CHECKING:
    from sslkit.core.balancer import Balancer
    from sslkit.spec.run import RunSpec


@final
class FixedWeights(BalancerSpec):
    """A weighted sum with constant weights."""

    kind: Literal["fixed"] = "fixed"
    weights: Mapping[str, Annotated[float, Field(ge=0)]] = {}
    """Weight of each objective by name. Default: 1."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Every weight must belong to an objective."""
        for name in self.weights:
            if name not in run.terms:
                yield Problem(
                    f"weights.{name}", f"is not an objective of this run. Known: {', '.join(run.terms)}"
                )

    def build(self, names: Sequence[str]) -> Balancer:
        """The weighted sum of the objectives called `names`."""
        from sslkit_balancers.fixed import WeightedSum

        return WeightedSum([self.weights.get(name, 1.0) for name in names])


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The balancers of this package."""
    return [FixedWeights]
