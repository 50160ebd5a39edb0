"""Specs of `knn` and `linear`. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypeVar, final

from pydantic import Field

from sslkit.plugin import (
    HIGHER,
    NEITHER,
    Count,
    EvaluatorSpec,
    Metric,
    Metrics,
    own_fields,
    protocol,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Evaluator


Positive = Annotated[float, Field(gt=0)]


RATES = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


TOP5 = Metric("higher", "with five classes or more")


APPROXIMATE = Metric("higher", "beyond `exact_up_to` training images")


Number = TypeVar("Number", int, float)


def _listed(value: Number | tuple[Number, ...]) -> tuple[Number, ...]:
    return value if isinstance(value, tuple) else (value,)


@final
class KNN(EvaluatorSpec):
    """Weighted nearest neighbors by cosine (DINO `eval_knn.py`): protocol `knn@1`.

    Metrics: `accuracy` (top-1, 0 to 1) and, with at least five classes, `top5`. With several `k` or temperatures these
    are the first pair's, and every pair has its own, as `accuracy_k20_T0.07`. Approximate searches add `recall`.
    """

    oblong: ClassVar[bool] = True
    kind: Literal["knn"] = "knn"
    k: Count | Annotated[tuple[Count, ...], Field(min_length=1)] = 20
    """Neighbors that vote, or a list to try in one pass (DINO: the best of 10, 20, 100 and 200 is mostly 20)."""
    temperature: Positive | Annotated[tuple[Positive, ...], Field(min_length=1)] = 0.07
    """A neighbor of cosine s votes with weight exp(s / temperature) (DINO: 0.07); or a list."""
    engine: Literal["auto", "faiss", "torch"] = "auto"
    """Who proposes neighbors; the result is the same. `auto` is `torch`, the faster one on CPU and GPU."""
    exact_up_to: int = Field(2_000_000, ge=0)
    """Training images up to which the search is exact. Beyond, faiss's inverted file finds nearly all of them."""
    probes: Count = 64
    """Cells that an approximate search looks into, of 4 sqrt(N); more raise `recall` and cost time."""

    def reported_metrics(self) -> Metrics:
        """Shares of the test images."""
        pairs = [(k, t) for k in _listed(self.k) for t in _listed(self.temperature)]
        endings = ["", *(f"_k{k}_T{t:g}" for k, t in pairs if len(pairs) > 1)]
        accuracies = {f"accuracy{end}": HIGHER for end in endings}
        return {**accuracies, **{f"top5{end}": TOP5 for end in endings}, "recall": APPROXIMATE}

    def build(self) -> Evaluator:
        from sslkit_evaluators.probes.knn import KNNEvaluator, Search

        search = Search(self.engine, self.exact_up_to, self.probes)
        ks, temperatures = _listed(self.k), _listed(self.temperature)
        return KNNEvaluator(ks, temperatures, search, protocol(self, "knn@1", own_fields(KNN, "engine")))


@final
class LinearProbe(EvaluatorSpec):
    """A linear classifier on frozen, standardized features: protocol `linear@1`.

    All learning rates and weight decays are trained together; a held-out part of the training set chooses the one to
    score. Metrics: `accuracy` (0 to 1), `holdout_accuracy`, and the chosen `learning_rate` and, of several,
    `weight_decay`.
    """

    oblong: ClassVar[bool] = True
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
    """Share of each class of the training set that only chooses the rate and the decay."""
    weight_decays: tuple[Annotated[float, Field(ge=0)], ...] = Field((0.0,), min_length=1)
    """Weight decays to choose from, each with every rate (DINO, MAE: 0). Biases are not decayed."""
    optimizer: Literal["sgd", "lars", "adamw"] = "sgd"
    """SGD with momentum 0.9 (DINO, DINOv2), LARS with the same (MAE), or AdamW, which wants rates below 0.01."""
    standardize: bool = True
    """Mean 0 and variance 1 of every feature, as MAE's batch norm without affine parameters; false: as they are."""

    @classmethod
    def example(cls) -> Self:
        return cls(learning_rates=(0.01, 0.1), epochs=3)

    def reported_metrics(self) -> Metrics:
        choice = {"weight_decay": NEITHER} if len(self.weight_decays) > 1 else {}
        return {"accuracy": HIGHER, "holdout_accuracy": HIGHER, "learning_rate": NEITHER, **choice}

    def build(self) -> Evaluator:
        from sslkit_evaluators.probes.linear import LinearEvaluator, Recipe

        recipe = Recipe(**{name: getattr(self, name) for name in Recipe._fields})
        return LinearEvaluator(recipe, protocol(self, "linear@1", Recipe._fields))
