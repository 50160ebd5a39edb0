"""k-means against scikit-learn, and at its ends."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_samples

from sslkit.errors import DataError
from sslkit_evaluators.analysis import clusters
from sslkit_evaluators.analysis.clusters import clustered, k_means, silhouette
from sslkit_evaluators.analysis.sample import Measured


def blobs(count, classes, noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centers = torch.randn(classes, 8, generator=generator)
    values = centers[labels] + noise * torch.randn(count, 8, generator=generator)
    return Measured(values, F.normalize(values, dim=1), labels, classes)


def test_scores_are_scikit_learns():
    made = blobs(120, 4, 0.7)
    unit, labels = made.unit.numpy(), made.labels.numpy()
    found = KMeans(4, n_init=2, random_state=3).fit_predict(unit)
    scores = clustered(made, None, 2, 3)
    assert list(scores) == ["ari", "nmi", "silhouette", "label_silhouette"]
    assert scores["ari"] == pytest.approx(adjusted_rand_score(labels, found))
    assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(labels, found))
    assert scores["silhouette"] == pytest.approx(silhouette_samples(unit, found).mean(), abs=1e-6)
    assert scores["label_silhouette"] == pytest.approx(silhouette_samples(unit, labels).mean(), abs=1e-6)
    assert 0.1 < scores["ari"] < 0.999, "a case that tells something"


def test_clusters_that_are_the_classes():
    scores = clustered(blobs(60, 3, 0.01), None, 3, 0)
    assert scores["ari"] == scores["nmi"] == pytest.approx(1)
    assert scores["silhouette"] == scores["label_silhouette"] > 0.9


def test_labels_that_have_nothing_to_do_with_the_features():
    made = blobs(600, 3, 0.01)
    other = torch.randint(0, 3, (600,), generator=torch.Generator().manual_seed(1))
    scores = clustered(made._replace(labels=other), None, 1, 0)
    assert abs(scores["ari"]) < 0.01
    assert scores["silhouette"] > 0.9
    assert abs(scores["label_silhouette"]) < 0.1


def test_the_number_of_clusters_may_be_chosen():
    made = blobs(60, 3, 0.01)
    assert clustered(made, 6, 1, 0)["ari"] < 1
    assert list(clustered(made._replace(labels=None, classes=0), 3, 1, 0)) == ["silhouette"]
    assert clustered(made._replace(labels=None, classes=0), None, 1, 0) == {}
    assert clustered(made._replace(labels=torch.zeros(60, dtype=torch.int64), classes=1), None, 1, 0) == {}


def test_more_clusters_than_images_are_an_error():
    with pytest.raises(DataError, match="20 clusters of 20 images say nothing; give a smaller `clusters`"):
        clustered(blobs(20, 4, 1.0), 20, 1, 0)


def test_it_repeats_itself_and_depends_on_the_seed():
    made = blobs(300, 8, 1.5).unit.numpy()
    one, again, other = (k_means(made, 8, 1, seed) for seed in (2**63 - 1, 2**63 - 1, 7))
    assert (one == again).all()
    assert adjusted_rand_score(one, other) < 1


def test_more_starts_are_never_worse():
    made = blobs(200, 10, 0.8).unit.numpy()

    def spread(found):
        return sum(((made[found == c] - made[found == c].mean(0)) ** 2).sum() for c in set(found.tolist()))

    assert spread(k_means(made, 10, 8, 0)) <= spread(k_means(made, 10, 1, 0)) + 1e-6


def test_one_cluster_and_lone_images_have_no_silhouette():
    values = blobs(10, 2, 0.1).unit.numpy()
    assert silhouette(values, torch.zeros(10, dtype=torch.int64).numpy()) == 0
    assert silhouette(values, torch.arange(10).numpy()) == 0


def test_features_that_are_all_alike_give_no_warning():
    point = torch.ones(12, 4)
    scores = clustered(Measured(point, point / 2, torch.arange(12) % 3, 3), None, 2, 0)
    assert scores == {"ari": 0.0, "nmi": pytest.approx(0), "silhouette": 0.0, "label_silhouette": 0.0}


def test_distances_are_held_in_parts(monkeypatch):
    made = blobs(400, 3, 1.0)
    whole = silhouette(made.unit.numpy(), made.labels.numpy())
    monkeypatch.setattr(clusters, "WORKING_MB", 1)
    assert silhouette(made.unit.numpy(), made.labels.numpy()) == pytest.approx(whole, abs=1e-6)
