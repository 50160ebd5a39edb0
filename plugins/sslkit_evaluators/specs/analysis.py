"""Specs of `geometry` and `attention`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    HIGHER,
    LOWER,
    NEITHER,
    EvaluatorSpec,
    Metric,
    Metrics,
    Problem,
    protocol,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Evaluator
    from sslkit.plugin import RunSpec


Fraction = Annotated[float, Field(gt=0, le=1)]


LABELED = Metric("higher", "with labels of two classes or more")


DESCRIPTIONS = (
    "effective_rank", "participation_ratio", "isoscore", "mean_cosine", "feature_std", "two_nn", "mle_dimension",
)  # fmt: skip


HEADS = ("head_divergence", "head_cosine", "entropy", "distance", "distance_pixels")


@final
class FeatureGeometry(EvaluatorSpec):
    """How features lie in their space: ranks, alignment and uniformity, intrinsic dimension, clusters: `geometry@1`.

    Metrics: `rankme`, `effective_rank`, `participation_ratio`, `isoscore`, `mean_cosine`, `uniformity`, `alignment`,
    `feature_std`, `two_nn`, `mle_dimension`; with labels `ari`, `nmi`, `silhouette` and `label_silhouette`.
    """

    oblong: ClassVar[bool] = True
    kind: Literal["geometry"] = "geometry"
    split: Literal["train", "test"] = "test"
    """The images that are measured; they need no labels."""
    max_images: int = Field(10_000, ge=4)
    """Images at most; of more, a random choice by the run's seed. Half of the costs grow with their square."""
    positives: Literal["views", "classes", "none"] = "views"
    """Pairs that `alignment` compares: two random crops of an image, each perhaps mirrored (Wang and Isola: two
    augmented views); two images of a class; or none, which leaves it out."""
    scale: tuple[Fraction, Fraction] = (0.2, 1.0)
    """Smallest and largest share of the image that a crop of `views` keeps (MoCo: 0.2 to 1)."""
    neighbours: int = Field(20, ge=2)
    """Neighbors of `mle_dimension` (scikit-dimension: 20; Levina and Bickel: 10 to 20)."""
    discard: float = Field(0.1, gt=0, lt=1)
    """Share of the largest ratios that the fit of `two_nn` leaves out (Facco et al.: 0.1)."""
    clusters: int | None = Field(None, ge=2)
    """Clusters of k-means. Default: as many as there are classes; without labels there is no clustering."""
    restarts: int = Field(3, ge=1)
    """Starts of k-means, the best of which counts."""

    @classmethod
    def example(cls) -> Self:
        return cls(neighbours=5, restarts=1)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.scale[0] > self.scale[1]:
            yield Problem("scale", f"the first share is the smaller one, found {list(self.scale)}")

    def reported_metrics(self) -> Metrics:
        """RankMe chooses networks (Garrido et al.), alignment and uniformity are losses; the others describe."""
        alignment = {} if self.positives == "none" else {"alignment": LOWER}
        clusters = Metric("higher", "with labels or `clusters`")
        return {
            "rankme": HIGHER,
            "uniformity": LOWER,
            **alignment,
            **dict.fromkeys(DESCRIPTIONS, NEITHER),
            "silhouette": clusters,
            **dict.fromkeys(("ari", "nmi", "label_silhouette"), LABELED),
        }

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.positives != "views":
            yield Problem("scale", f"is for `positives: views`, found {self.positives!r}; leave it out")

    def build(self) -> Evaluator:
        from sslkit_evaluators.analysis.geometry import GeometryEvaluator, Measurement

        measurement = Measurement(
            self.split,
            self.max_images,
            self.positives,
            self.scale,
            self.neighbours,
            self.discard,
            self.clusters,
            self.restarts,
        )
        return GeometryEvaluator(measurement, protocol(self, "geometry@1", Measurement._fields))


@final
class AttentionStatistics(EvaluatorSpec):
    """How wide and how far each head of each block looks, and how heads differ: `attention@1`.

    Metrics, each a mean over all blocks and, with `_last`, of the last: `head_divergence` (Jensen-Shannon),
    `head_cosine`, `entropy` (nats), `distance` (patches), `distance_pixels`, and `class_entropy` where there is a class
    token.
    """

    kind: Literal["attention"] = "attention"
    split: Literal["train", "test"] = "test"
    """The images that are measured; they need no labels."""
    max_images: int = Field(256, ge=1)
    """Images at most; of more, a random choice by the run's seed."""
    shown: int = Field(6, ge=0, le=64)
    """Images whose attention maps are drawn."""

    @classmethod
    def example(cls) -> Self:
        return cls(max_images=8, shown=2)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The network that is read must tell its attention; raw pixels have none."""
        net = run.nets.get(run.readout.net)
        backbone = (net.backbone if net is not None else None) or run.backbone
        if not backbone.tells_attention:
            yield Problem(
                "", f"a {backbone.kind_name()!r} does not tell its attention; use a 'vit', or leave this out"
            )
        if self.baselines:
            yield Problem("baselines", "raw pixels have no attention to measure; leave this out")

    def reported_metrics(self) -> Metrics:
        """Descriptions: wide and narrow heads are of use alike."""
        classes = Metric(None, "where there is a class token")
        names = {**dict.fromkeys(HEADS, NEITHER), "class_entropy": classes}
        return names | {f"{name}_last": metric for name, metric in names.items()}

    def build(self) -> Evaluator:
        from sslkit_evaluators.analysis.attention import AttentionEvaluator

        name = protocol(self, "attention@1", ("split", "max_images"))
        return AttentionEvaluator(self.split, self.max_images, self.shown, name)
