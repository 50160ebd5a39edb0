"""Specs of `logistic`, `lowshot` and `probing`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import HIGHER, NEITHER, Count, EvaluatorSpec, Metrics, Problem, own_fields, protocol

if TYPE_CHECKING:
    from sslkit.interfaces import Evaluator
    from sslkit.plugin import RunSpec

STRENGTHS = (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)
Fraction = Annotated[float, Field(gt=0, le=1)]


@final
class LogisticRegression(EvaluatorSpec):
    """Multinomial logistic regression by L-BFGS (CLIP's linear probe): protocol `logistic@1`.

    A held-out part of the training set chooses the penalty; the classifier is then fitted to all of it. Metrics:
    `accuracy` (0 to 1), the chosen `strength`, and `holdout_accuracy` where there was a choice.
    """

    oblong: ClassVar[bool] = True
    kind: Literal["logistic"] = "logistic"
    strengths: tuple[Annotated[float, Field(gt=0)], ...] = Field(STRENGTHS, min_length=1)
    """Inverse penalties to try first, scikit-learn's C (CLIP: these seven)."""
    halvings: int = Field(4, ge=0, le=10)
    """How often the spacing is then halved about the best one (CLIP: 4, to eight steps a decade)."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of each class of the training set that chooses the penalty."""
    iterations: Count = 1000
    """Iterations of L-BFGS, at most (CLIP: 1000)."""
    standardize: bool = False
    """Mean 0 and variance 1 of every feature; false: as they are (CLIP)."""

    @classmethod
    def example(cls) -> Self:
        return cls(strengths=(0.01, 1.0), halvings=1, iterations=20)

    def reported_metrics(self) -> Metrics:
        choice = {"holdout_accuracy": HIGHER} if len(self.strengths) > 1 else {}
        return {"accuracy": HIGHER, "strength": NEITHER, **choice}

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if len(set(self.strengths)) == 1:
            for field in ("halvings", "holdout"):
                yield Problem(field, "has no effect with a single strength; leave it out, or give several")

    def build(self) -> Evaluator:
        from sslkit_evaluators.probes.logistic import LogisticEvaluator, Search

        search = Search(**{name: getattr(self, name) for name in Search._fields})
        return LogisticEvaluator(search, protocol(self, "logistic@1", own_fields(LogisticRegression)))


@final
class LowShot(EvaluatorSpec):
    """Accuracy with few labeled images, and the area under its curve: protocol `lowshot@1`.

    Metrics: `area` (under accuracy by log number of images, over its width) and `accuracy_1pct`, `accuracy_5shot`, ...,
    means over draws, all 0 to 1.
    """

    oblong: ClassVar[bool] = True
    kind: Literal["lowshot"] = "lowshot"
    shares: tuple[Fraction, ...] = (0.01, 0.05, 0.1)
    """Shares of each class, rounded, at least one image (SimCLR: 0.01 and 0.1)."""
    shots: tuple[Count, ...] = (1, 2, 5)
    """Images of each class (MSN: 1, 2 and 5); a class with fewer gives all it has."""
    draws: Count = 3
    """Random sets of every size (MSN: 3). In one draw, smaller sets are parts of larger ones."""
    head: Literal["logistic", "knn"] = "logistic"
    """Classifier: logistic regression on centered features of unit length (MSN), or weighted nearest neighbors."""
    strength: float = Field(4000.0, gt=0)
    """Inverse penalty of `logistic`, scikit-learn's C (MSN `logistic_eval.py`: 0.00025 / N, which is C = 4000)."""
    k: Count = 20
    """Neighbors of `knn`, at most all labeled images (DINO: 20)."""
    temperature: float = Field(0.07, gt=0)
    """Of `knn` (DINO: 0.07)."""

    @classmethod
    def example(cls) -> Self:
        return cls(shares=(0.5,), shots=(1,), draws=2)

    def reported_metrics(self) -> Metrics:
        sizes = [*(f"{shots}shot" for shots in self.shots), *(f"{100 * share:g}pct" for share in self.shares)]
        return {"area": HIGHER, **{f"accuracy_{size}": HIGHER for size in sizes}}

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if not (self.shares or self.shots):
            yield Problem(
                "shots", "is empty and so is `shares`; give a number of images of one kind at least"
            )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        for field in ("strength",) if self.head == "knn" else ("k", "temperature"):
            yield Problem(field, f"has no effect with `head: {self.head}`; leave it out")

    def build(self) -> Evaluator:
        from sslkit_evaluators.probes.lowshot import LowShotEvaluator, Recipe

        recipe = Recipe(**{name: getattr(self, name) for name in Recipe._fields})
        return LowShotEvaluator(recipe, protocol(self, "lowshot@1", own_fields(LowShot)))


@final
class Probing(EvaluatorSpec):
    """Linear probes of every attribute at every depth (Alain & Bengio, 2016): protocol `probing@1`.

    Metrics: `accuracy`, the mean over attributes of the test accuracy at the depth that held-out training images
    choose, and for each attribute `NAME_accuracy` and `NAME_layer`.
    """

    oblong: ClassVar[bool] = True
    kind: Literal["probing"] = "probing"
    attributes: tuple[str, ...] = ()
    """Which of the data's attributes, `class` being the class label. Default: all."""
    layers: tuple[Annotated[int, Field(gt=-1000, lt=1000)], ...] = ()
    """Blocks to read, from 0, as `readout.layer`; -1 is the last after the final norm. Default: all blocks."""
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field((0.01, 0.1, 1.0), min_length=1)
    """Rates to choose from, as those of `linear`."""
    epochs: Count = 30
    """Passes over the training part of each probe."""
    batch_size: Count = 256
    """As that of `linear`."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of the training images, of each value, that chooses rate and depth."""

    @classmethod
    def example(cls) -> Self:
        return cls(learning_rates=(0.1, 1.0), epochs=3)

    def reported_metrics(self) -> Metrics:
        names = self.attributes or ("*",)
        of_each = {f"{name}_accuracy": HIGHER for name in names} | {
            f"{name}_layer": NEITHER for name in names
        }
        return {"accuracy": HIGHER, **of_each}

    def build(self) -> Evaluator:
        from sslkit_evaluators.probes.linear import Recipe
        from sslkit_evaluators.probes.probing import ProbingEvaluator

        recipe = Recipe(self.learning_rates, self.epochs, self.batch_size, self.holdout)
        name = protocol(self, "probing@1", own_fields(Probing))
        return ProbingEvaluator(self.attributes, self.layers, recipe, name)
