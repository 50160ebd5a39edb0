"""Specs of the evaluators of retrieval and robustness. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final, get_args

from pydantic import Field

from sslkit.plugin import HIGHER, Count, EvaluatorSpec, Metric, Metrics, Problem, own_fields, protocol

if TYPE_CHECKING:
    from sslkit.interfaces import Evaluator
    from sslkit.plugin import RunSpec

Kind = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "gaussian_blur",
    "contrast",
    "brightness",
    "pixelate",
    "jpeg",
]


@final
class Retrieval(EvaluatorSpec):
    """Ranking a gallery of images by cosine for every test image: protocol `retrieval@1`.

    Metrics: `map`, the mean over queries of the average precision, and `recall_K`, the share of queries with an
    image of their class among the first K.
    """

    oblong: ClassVar[bool] = True
    kind: Literal["retrieval"] = "retrieval"
    gallery: Literal["train", "test"] = "train"
    """What is searched: the training images, or the other test images (each query is left out of its own ranking)."""
    ks: tuple[Count, ...] = Field((1, 5, 10), min_length=1)
    """Depths of `recall_K`."""

    def reported_metrics(self) -> Metrics:
        return {"map": HIGHER, **{f"recall_{k}": HIGHER for k in self.ks}}

    def build(self) -> Evaluator:
        from sslkit_evaluators.images.retrieval import RetrievalEvaluator

        return RetrievalEvaluator(self.gallery, self.ks, protocol(self, "retrieval@1", own_fields(Retrieval)))


@final
class Robustness(EvaluatorSpec):
    """A classifier of clean training images on corrupted test images: protocol `robustness@1`.

    Metrics: `accuracy`, the mean over corruptions and severities; `clean_accuracy`; their ratio `relative`; and
    `CORRUPTION_accuracy`, means over severities.
    """

    kind: Literal["robustness"] = "robustness"
    corruptions: tuple[Kind, ...] = ()
    """Which ones (Hendrycks & Dietterich, 2019). Default: all eight."""
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field((1, 2, 3, 4, 5), min_length=1)
    """Steps of the published scales: CIFAR-10-C's for images of at most 96 pixels, ImageNet-C's for larger ones."""
    classifier: Literal["knn", "logistic"] = "knn"
    """What is trained on clean features: nearest neighbors as in `knn@1`, or logistic regression."""
    k: Count = 20
    """Neighbors of `knn`, at most the training images (DINO: 20)."""
    temperature: float = Field(0.07, gt=0)
    """Temperature of `knn` (DINO: 0.07)."""
    strength: float = Field(0.316, gt=0)
    """Inverse penalty of `logistic` (CLIP, for ImageNet: 0.316)."""

    @classmethod
    def example(cls) -> Self:
        return cls(corruptions=("gaussian_noise", "contrast"), severities=(1, 5), k=5)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        for field in ("corruptions", "severities"):
            values = getattr(self, field)
            twice = [value for place, value in enumerate(values) if value in values[:place]]
            if twice:
                yield Problem(field, f"{twice[0]!r} is given twice; keep one")

    def reported_metrics(self) -> Metrics:
        kinds: tuple[str, ...] = self.corruptions or get_args(Kind)
        relative = Metric("higher", "where any clean image is told")
        each = {f"{name}_accuracy": HIGHER for name in kinds}
        return {"accuracy": HIGHER, "clean_accuracy": HIGHER, "relative": relative, **each}

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        for field in ("strength",) if self.classifier == "knn" else ("k", "temperature"):
            yield Problem(field, f"has no effect with `classifier: {self.classifier}`; leave it out")

    def build(self) -> Evaluator:
        from sslkit_evaluators.images.robustness import RobustnessEvaluator

        name = protocol(self, "robustness@1", own_fields(Robustness))
        return RobustnessEvaluator(
            self.corruptions, self.severities, self.classifier, self.k, self.temperature, self.strength, name
        )
