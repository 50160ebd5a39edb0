"""Effective rank, alignment, uniformity and clustering of features: `geometry@1`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import final

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
from sslkit.interfaces import Evaluator, Scores, Setting, Subject
from sslkit.plugin import DataError, Problem
from sslkit_evaluators.analysis.attention_figures import draw_spectrum
from sslkit_evaluators.analysis.clusters import clustered, few_images
from sslkit_evaluators.analysis.positives import aligned_classes, aligned_views, without_pairs
from sslkit_evaluators.analysis.sample import LEAST, Measured, choose, measure
from sslkit_evaluators.specs.analysis import FeatureGeometry


@final
class GeometryEvaluator(Evaluator):
    """Statistics of the features of one split."""

    labeled = False

    def __init__(self, spec: FeatureGeometry, protocol: str) -> None:
        self.spec, self.protocol = spec, protocol
        self.needs = (spec.split,)

    def check(self, setting: Setting) -> Iterator[Problem]:
        """Images enough for neighbors and clusters, and labels for pairs of a class."""
        spec, source = self.spec, setting.sources[self.spec.split]
        images = min(len(source), spec.max_images)
        if images < LEAST:
            yield Problem("", f"the {spec.split} split has {images} images; geometry needs at least {LEAST}")
            return
        if spec.neighbours >= images:
            yield Problem("neighbours", _too_many(spec.neighbours, images))
        clusters = spec.clusters or len(source.classes)
        if clusters >= images:
            yield Problem("clusters", few_images(clusters, images))
        if spec.positives == "classes":
            reason = without_pairs(source.labels)
            yield from () if reason is None else [Problem("positives", reason)]

    def __call__(self, subject: Subject) -> Scores:
        """Every metric of the spec's description, the spectrum as a table and as a figure."""
        spec = self.spec
        measured = measure(subject, spec.split, spec.max_images)
        centered = singular_values(measured.values, centerd=True)
        metrics = {
            **self._ranks(measured, centered),
            **self._directions(measured),
            **self._alignment(subject, measured),
            **self._dimensions(measured.values),
            **clustered(measured, spec.clusters, spec.restarts, subject.seed),
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
        spec = self.spec
        if spec.positives == "none":
            return {}
        if spec.positives == "classes":
            return {"alignment": aligned_classes(measured, subject.seed)}
        only = choose(len(subject.source(spec.split)), spec.max_images, subject.seed)
        return {"alignment": aligned_views(subject, spec.split, only, spec.scale)}

    def _dimensions(self, values: Tensor) -> dict[str, float]:
        neighbors = self.spec.neighbours
        if neighbors >= len(values):
            raise DataError(_too_many(neighbors, len(values)))
        distances = neighbor_distances(values, neighbors)
        return {
            "two_nn": float(two_nn(distances, self.spec.discard)),
            "mle_dimension": float(likelihood_dimension(distances)),
        }


def _too_many(neighbours: int, images: int) -> str:
    return f"{neighbours} neighbours are asked for, but there are only {images} images; give a smaller `neighbours`"
