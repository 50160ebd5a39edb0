"""Effective rank, alignment, uniformity and clustering of features: `geometry@1`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple, final

from torch import Tensor

from sslkit.functional.alignment_uniformity import mean_cosine, uniformity_in_blocks
from sslkit.functional.feature_std import feature_std
from sslkit.functional.intrinsic_dimension import likelihood_dimension, neighbor_distances, two_nn
from sslkit.functional.singular_values import (
    effective_rank,
    isoscore,
    participation_ratio,
    rankme,
    singular_values,
)
from sslkit.interfaces import Evaluator, Scores, Setting, Split, Subject
from sslkit.plugin import DataError, Problem
from sslkit_evaluators.analysis.attention_figures import draw_spectrum
from sslkit_evaluators.analysis.clusters import clustered, few_images
from sslkit_evaluators.analysis.positives import aligned_classes, aligned_views, without_pairs
from sslkit_evaluators.analysis.sample import LEAST, Measured, choose, measure


class Measurement(NamedTuple):
    """What is measured, of which images; as the fields of `geometry` say."""

    split: Split
    max_images: int
    positives: Literal["views", "classes", "none"]
    scale: tuple[float, float]
    neighbours: int
    discard: float
    clusters: int | None
    restarts: int


@final
class GeometryEvaluator(Evaluator):
    """Statistics of the features of one split."""

    labeled = False

    def __init__(self, measurement: Measurement, protocol: str) -> None:
        self.measurement, self.protocol = measurement, protocol
        self.needs = (measurement.split,)
        self.reads_images = measurement.positives == "views"

    def check(self, setting: Setting) -> Iterator[Problem]:
        """Images enough for neighbors and clusters, and labels for pairs of a class."""
        how, source = self.measurement, setting.sources[self.measurement.split]
        images = min(len(source), how.max_images)
        if images < LEAST:
            yield Problem("", f"the {how.split} split has {images} images; geometry needs at least {LEAST}")
            return
        if how.neighbours >= images:
            yield Problem("neighbours", _too_many(how.neighbours, images))
        clusters = how.clusters or len(source.classes)
        if clusters >= images:
            yield Problem("clusters", few_images(clusters, images))
        if how.positives == "classes":
            reason = without_pairs(source.labels)
            yield from () if reason is None else [Problem("positives", reason)]

    def __call__(self, subject: Subject) -> Scores:
        """Every metric of the spec's description, the spectrum as a table and as a figure."""
        how = self.measurement
        measured = measure(subject, how.split, how.max_images)
        centered = singular_values(measured.values, centerd=True)
        metrics = {
            **self._ranks(measured, centered),
            **self._directions(measured),
            **self._alignment(subject, measured),
            **self._dimensions(measured.values),
            **clustered(measured, how.clusters, how.restarts, subject.seed),
        }
        deviations = (centered / (len(measured.values) - 1) ** 0.5).tolist()
        tables = {"spectrum": deviations, "images": len(measured.values), "width": measured.values.shape[1]}
        return Scores(metrics, None, tables, {"spectrum": partial(draw_spectrum, deviations, metrics)})

    def _ranks(self, measured: Measured, centerd: Tensor) -> dict[str, float]:
        variances = centerd.square()
        return {
            "rankme": float(rankme(singular_values(measured.values))),
            "effective_rank": float(effective_rank(centerd)),
            "participation_ratio": float(participation_ratio(variances)),
            "isoscore": float(isoscore(variances, measured.values.shape[1])),
        }

    def _directions(self, measured: Measured) -> dict[str, float]:
        return {
            "mean_cosine": float(mean_cosine(measured.unit)),
            "uniformity": float(uniformity_in_blocks(measured.unit)),
            "feature_std": float(feature_std(measured.values)),
        }

    def _alignment(self, subject: Subject, measured: Measured) -> dict[str, float]:
        how = self.measurement
        if how.positives == "none":
            return {}
        if how.positives == "classes":
            return {"alignment": aligned_classes(measured, subject.seed)}
        only = choose(len(subject.source(how.split)), how.max_images, subject.seed)
        return {"alignment": aligned_views(subject, how.split, only, how.scale)}

    def _dimensions(self, values: Tensor) -> dict[str, float]:
        neighbors = self.measurement.neighbours
        if neighbors >= len(values):
            raise DataError(_too_many(neighbors, len(values)))
        distances = neighbor_distances(values, neighbors)
        return {
            "two_nn": float(two_nn(distances, self.measurement.discard)),
            "mle_dimension": float(likelihood_dimension(distances)),
        }


def _too_many(neighbours: int, images: int) -> str:
    return f"{neighbours} neighbours are asked for, but there are only {images} images; give a smaller `neighbours`"
