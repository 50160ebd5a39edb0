"""Specs of the built-in evaluators. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Spec
from sslkit.spec.families import EvaluatorSpec
from sslkit.spec.protocol import protocol

if TYPE_CHECKING:
    from sslkit.core.evaluator import Evaluator

RATES = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@final
class KNN(EvaluatorSpec):
    """Weighted nearest neighbours by cosine (DINO `eval_knn.py`), exact: protocol `knn@1`.

    Metrics: `accuracy` (top-1, 0 to 1) and, with at least five classes, `top5`.
    """

    kind: Literal["knn"] = "knn"
    k: int = Field(20, ge=1)
    """Neighbours that vote (DINO: the best of 10, 20, 100 and 200 is mostly 20)."""
    temperature: float = Field(0.07, gt=0)
    """A neighbour of cosine s votes with weight exp(s / temperature) (DINO: 0.07)."""
    engine: Literal["auto", "faiss", "torch"] = "auto"
    """Who proposes neighbours; the result is the same. `auto` is `torch`, the faster one on CPU and GPU."""

    def build(self) -> Evaluator:
        """The protocol."""
        from sslkit_evaluators.knn import KNearest

        return KNearest(self.k, self.temperature, self.engine, protocol(self, "knn@1", ("k", "temperature")))


@final
class LinearProbe(EvaluatorSpec):
    """A linear classifier on frozen, standardized features: protocol `linear@1`.

    All learning rates are trained together; a held-out part of the training set chooses the one to score.
    Metrics: `accuracy` (0 to 1), `holdout_accuracy` and the chosen `learning_rate`.
    """

    kind: Literal["linear"] = "linear"
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(RATES, min_length=1)
    """Rates to choose from, for a batch of 256; scaled by batch / 256.

    Default: the 13 steps of DINOv2's grid (`eval/linear.py`), times 100. Standardized features bear higher
    rates, and small sets give few steps: on the digits the best is near 0.1, where DINOv2's grid ends.
    """
    epochs: int = Field(100, ge=1)
    """Passes over the training part (DINO `eval_linear.py`: 100)."""
    batch_size: int = Field(256, ge=1)
    """Images a step, at most the training part. Half a cosine brings the rate to 0 (DINOv2)."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of each class of the training set that only chooses the rate."""

    @classmethod
    def example(cls) -> Self:
        """Few rates and epochs."""
        return cls(learning_rates=(0.01, 0.1), epochs=3)

    def build(self) -> Evaluator:
        """The protocol."""
        from sslkit_evaluators.linear import Linear, Recipe

        recipe = Recipe(self.learning_rates, self.epochs, self.batch_size, self.holdout)
        return Linear(recipe, protocol(self, "linear@1", recipe._fields))


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The evaluators of this package."""
    return [KNN, LinearProbe]
