"""Specs of evaluators of images and texts. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import HIGHER, LOWER, Count, EvaluatorSpec, Metrics, Problem, own_fields, protocol
from sslkit_text.specs.captions import Template
from sslkit_text.specs.pairs import caption_problems, pair_problems

if TYPE_CHECKING:
    from sslkit.interfaces import Evaluator
    from sslkit.plugin import RunSpec

UNCHECKED = "it reads the embeddings of an objective of pairs"


@final
class ZeroShot(EvaluatorSpec):
    """Classification by texts: an image is of the class whose prompt's embedding is nearest. Protocol `zero_shot@1`.

    The embedding of a class is the mean of those of its prompts, each of length 1, as in CLIP. Metric: `accuracy`.
    """

    unchecked: ClassVar[str] = UNCHECKED
    kind: Literal["zero_shot"] = "zero_shot"
    templates: tuple[Template, ...] = Field(("a photo of a {}.",), min_length=1)
    """Prompts, with `{}` where the class goes (CLIP: 80 for ImageNet)."""
    names: Mapping[str, str] = {}
    """Words for classes, by name. Default: the name itself."""
    objective: str | None = None
    """The objective of pairs whose embeddings are compared. Default: the run's first."""

    shown: int = Field(0, ge=0, le=64)
    """Images whose word maps are drawn: the cosine of each patch with the classes. Default: none."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from pair_problems(self.objective, run)

    def reported_metrics(self) -> Metrics:
        return {"accuracy": HIGHER}

    def build(self) -> Evaluator:
        from sslkit_text.zero_shot import ZeroShotEvaluator

        name = protocol(self, "zero_shot@1", own_fields(ZeroShot, "shown"))
        return ZeroShotEvaluator(self.templates, self.names, self.objective, name, self.shown)


@final
class ImageTextRetrieval(EvaluatorSpec):
    """Texts found by images and images by texts, among those of the test split. Protocol `image_text_retrieval@1`.

    Metrics: `image_to_text_K` and `text_to_image_K`, the share of queries with a partner among the first K. Equal
    texts are one text, whose partners are all images that have it. With intervals.
    """

    unchecked: ClassVar[str] = UNCHECKED
    kind: Literal["image_text_retrieval"] = "image_text_retrieval"
    ks: tuple[Count, ...] = Field((1, 5, 10), min_length=1)
    """Depths."""
    objective: str | None = None
    """The objective of pairs whose embeddings are compared. Default: the run's first."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from caption_problems(self.objective, run)

    def reported_metrics(self) -> Metrics:
        sides = ("image_to_text", "text_to_image")
        return {f"{side}_{k}": HIGHER for side in sides for k in self.ks}

    def build(self) -> Evaluator:
        from sslkit_text.image_text_retrieval import ImageTextRetrievalEvaluator

        name = protocol(self, "image_text_retrieval@1", own_fields(ImageTextRetrieval))
        return ImageTextRetrievalEvaluator(self.ks, self.objective, name)


@final
class ModalityGap(EvaluatorSpec):
    """How far images and texts lie apart (Liang et al. 2022), on the test split. Protocol `modality_gap@1`.

    Metrics: `gap`, the distance between the mean embeddings of images and of texts, and `positive`, the mean cosine of
    pairs; both with intervals.
    """

    unchecked: ClassVar[str] = UNCHECKED
    kind: Literal["modality_gap"] = "modality_gap"
    objective: str | None = None
    """The objective of pairs whose embeddings are compared. Default: the run's first."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from caption_problems(self.objective, run)

    def reported_metrics(self) -> Metrics:
        return {"gap": LOWER, "positive": HIGHER}

    def build(self) -> Evaluator:
        from sslkit_text.modality_gap import ModalityGapEvaluator

        return ModalityGapEvaluator(self.objective, protocol(self, "modality_gap@1", own_fields(ModalityGap)))
