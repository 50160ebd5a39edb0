"""k-means clustering scores: silhouette, adjusted Rand index, normalized mutual information."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from threadpoolctl import threadpool_limits

from sslkit.plugin import DataError
from sslkit_evaluators.analysis.sample import Measured

WORKING_MB = 64
"""Of distances that scikit-learn holds at once."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]


def clustered(measured: Measured, clusters: int | None, restarts: int, seed: int) -> dict[str, float]:
    """Scores of k-means on features of length 1: `silhouette`, with labels `ari`, `nmi` and `label_silhouette`.

    Args:
        measured: what is clustered.
        clusters: how many, by default as many as there are classes; without both there are no scores.
        restarts: starts, the best of which counts.
        seed: of the starts.

    Raises:
        DataError: there are more clusters than images.
    """
    count = clusters or measured.classes
    if count < 2:
        return {}
    if count >= len(measured.unit):
        raise DataError(few_images(count, len(measured.unit)))
    unit = measured.unit.cpu().numpy()
    assigned = k_means(unit, count, restarts, seed)
    if measured.labels is None:
        return {"silhouette": silhouette(unit, assigned)}
    labels = measured.labels.cpu().numpy()
    return {
        "ari": float(adjusted_rand_score(labels, assigned)),
        "nmi": float(normalized_mutual_info_score(labels, assigned)),
        "silhouette": silhouette(unit, assigned),
        "label_silhouette": silhouette(unit, labels),
    }


def few_images(clusters: int, images: int) -> str:
    """What is wrong with as many clusters as images, or more."""
    return f"{clusters} clusters of {images} images say nothing; give a smaller `clusters`"


def k_means(values: Floats, count: int, restarts: int, seed: int) -> Integers:
    """The cluster of each row of `values` `[N, D]`, by Lloyd's iterations from k-means++ starts."""
    engine = KMeans(count, n_init=restarts, random_state=seed % 2**32)
    # threads add up centers in the order in which they finish, so that two runs would differ
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than clusters
        assigned: Integers = engine.fit_predict(values).astype(np.int64)
    return assigned


def silhouette(values: Floats, labels: Integers) -> float:
    """Mean silhouette by Euclidean distance (Rousseeuw 1987), -1 to 1; 0 where all images are in one cluster."""
    if not 1 < len(np.unique(labels)) < len(labels):
        return 0.0
    with config_context(working_memory=WORKING_MB):
        return float(silhouette_score(values, labels))
