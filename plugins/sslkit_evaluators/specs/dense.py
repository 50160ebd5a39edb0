"""Specs of `dense`, `concept` and `reconstruction`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    HIGHER,
    LOWER,
    NEITHER,
    Better,
    Count,
    EvaluatorSpec,
    Metric,
    Metrics,
    Problem,
    own_fields,
    protocol,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Evaluator
    from sslkit.plugin import RunSpec


Positive = Annotated[float, Field(gt=0)]


Ratio = Annotated[float, Field(gt=0, lt=1)]


@final
class Dense(EvaluatorSpec):
    """A linear segmentation head on frozen patch tokens (DINOv2's linear setup): protocol `dense@1`.

    Metrics: `miou`, the mean over regions of intersection over union; `pixel_accuracy`; `holdout_miou` and the chosen
    `learning_rate`. The record has the intersection over union of every region.
    """

    kind: Literal["dense"] = "dense"
    layer: int = Field(-1, gt=-1000, lt=1000)
    """Block whose patch tokens are read, from 0; -1 is the last after the final norm (DINOv2's linear setup)."""
    learning_rates: tuple[Positive, ...] = Field((3e-4, 1e-3, 3e-3, 1e-2), min_length=1)
    """Rates of AdamW to choose from (DINOv2: 1e-3, for many more steps). They fall to 0 in a straight line."""
    weight_decay: float = Field(1e-4, ge=0)
    """Of AdamW (DINOv2: 1e-4)."""
    steps: Count = 2000
    """Batches of the training (DINOv2: 40,000)."""
    batch_size: Count = 16
    """Images a step, at most the training part (DINOv2: 16)."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of the training images that only chooses the rate."""
    memory: float = Field(4.0, ge=0)
    """GiB of patch tokens of a split that are kept, as float16; those of larger sets are made anew for every batch."""
    shown: int = Field(6, ge=0, le=64)
    """Test images that are drawn with their truth and prediction."""

    @classmethod
    def example(cls) -> Self:
        return cls(learning_rates=(1e-3, 1e-2), steps=5, shown=2)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Raw pixels have no patch tokens."""
        if self.baselines:
            yield Problem("baselines", "raw pixels have no patch tokens; leave this out")

    def reported_metrics(self) -> Metrics:
        overlaps = dict.fromkeys(("miou", "pixel_accuracy", "holdout_miou"), HIGHER)
        return {**overlaps, "learning_rate": NEITHER}

    def build(self) -> Evaluator:
        from sslkit_evaluators.segmentation.dense import DenseEvaluator
        from sslkit_evaluators.segmentation.segmentation_heads import Recipe

        return DenseEvaluator(
            Recipe(self.learning_rates, self.weight_decay, self.steps, self.batch_size),
            layer=self.layer,
            holdout=self.holdout,
            memory=self.memory,
            shown=self.shown,
            protocol=protocol(self, "dense@1", own_fields(Dense, "memory", "shown")),
        )


@final
class Concept(EvaluatorSpec):
    """A concept bottleneck (Koh et al., 2020): features tell named concepts, and these alone the class: `concept@1`.

    Metrics: `accuracy` through the bottleneck, `direct_accuracy` of a classifier of the features, their difference
    `gap`, `concept_accuracy` and `concept_auc`, means over concepts. The record has every concept, the weights of
    concepts for classes, and the accuracy when concepts are put right.
    """

    kind: Literal["concept"] = "concept"
    concepts: tuple[str, ...] = ()
    """Which of the data's attributes. Default: all."""
    bottleneck: Literal["sequential", "independent"] = "sequential"
    """What the classifier of concepts learns from: predicted probabilities, or true concepts (Koh et al. compare
    both)."""
    strengths: tuple[Positive, ...] = Field((0.01, 1.0, 100.0), min_length=1)
    """Inverse penalties, scikit-learn's C, that held-out images choose from, for each classifier anew."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of the training images that chooses."""
    iterations: Count = 1000
    """Iterations of L-BFGS, at most."""

    @classmethod
    def example(cls) -> Self:
        return cls(strengths=(0.1, 10.0), iterations=20)

    def reported_metrics(self) -> Metrics:
        concepts = dict.fromkeys(
            ("concept_accuracy", "concept_auc"), Metric("higher", "where test images tell")
        )
        accuracies = {"accuracy": HIGHER, "direct_accuracy": HIGHER, "gap": LOWER}
        return {**accuracies, **concepts, "concept_majority": Metric(None, "where test images tell")}

    def build(self) -> Evaluator:
        from sslkit_evaluators.concepts.concept import Bottleneck, ConceptEvaluator

        independent = self.bottleneck == "independent"
        bottleneck = Bottleneck(self.concepts, independent, self.strengths, self.holdout, self.iterations)
        return ConceptEvaluator(bottleneck, protocol(self, "concept@1", own_fields(Concept)))


@final
class Reconstruction(EvaluatorSpec):
    """What the run's masked objectives predict of held-out images, by share hidden: protocol `reconstruction@1`.

    Metrics: `skill`, 1 - `loss` / the loss where the encoder sees a gray image, with the masker of the run; `loss`; and
    for pixels `psnr` of what is hidden and `ssim`; each also at every ratio, as `loss_at_0.5`. Of several masked
    objectives these are `NAME_loss` and so on, and `skill` is their mean.
    """

    kind: Literal["reconstruction"] = "reconstruction"
    ratios: tuple[Ratio, ...] = (0.25, 0.5, 0.75, 0.9)
    """Shares to hide beside the masker's own, where it has a field `ratio`."""
    split: Literal["train", "test"] = "test"
    """The images that are measured; they need no labels."""
    max_images: Count = 1000
    """Images at most; of more, evenly spread ones."""
    shown: int = Field(4, ge=0, le=64)
    """Images that are drawn."""

    @classmethod
    def example(cls) -> Self:
        return cls(ratios=(0.25, 0.75), max_images=8, shown=2)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The run must have an objective that predicts hidden patches; raw pixels have none."""
        masked = [term.spec for term in run.all_terms() if getattr(term.spec, "masker", None) is not None]
        if not masked:
            yield Problem(
                "", "measures masked objectives, such as 'mae' or 'simmim', and there is none; leave this out"
            )
        elif not any(spec.scores_patches for spec in masked):
            kinds = ", ".join(sorted({repr(spec.kind_name()) for spec in masked}))
            yield Problem(
                "",
                "measures objectives that predict hidden patches, such as 'mae' or 'simmim'; the masked ones here "
                f"predict none ({kinds}); leave this out",
            )
        if self.baselines:
            yield Problem("baselines", "raw pixels have no objectives; leave this out")

    def reported_metrics(self) -> Metrics:
        """Of one masked objective plain names, of several `NAME_loss` and so on; losses are better low."""
        of_one = {"loss": "of one masked objective", "psnr": "for pixels", "ssim": "for pixels"}
        metrics = {"skill": HIGHER}
        for name in ("skill", "loss", "psnr", "ssim"):
            better: Better = "lower" if name == "loss" else "higher"
            for end in ("", *(f"_at_{ratio:g}" for ratio in self.ratios)):
                plain = Metric(better, of_one.get(name, "where the masker takes the ratio"))
                metrics.setdefault(f"{name}{end}", plain)
                metrics[f"*_{name}{end}"] = Metric(better, "of several masked objectives")
        return metrics

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        maskers = [getattr(term.spec, "masker", None) for term in run.all_terms()]
        if not any("ratio" in type(masker).model_fields for masker in maskers if masker is not None):
            yield Problem(
                "ratios", "has no effect, as no masker of this run has a field `ratio`; leave it out"
            )

    def build(self) -> Evaluator:
        from sslkit_evaluators.reconstruction.reconstruction import ReconstructionEvaluator

        name = protocol(self, "reconstruction@1", own_fields(Reconstruction, "shown"))
        return ReconstructionEvaluator(self.ratios, self.split, self.max_images, self.shown, name)
