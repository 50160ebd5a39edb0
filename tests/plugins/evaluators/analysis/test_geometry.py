"""The protocol of geometry, on features of known answer."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sslkit import FeatureGeometry
from sslkit.errors import DataError
from tests.plugins.evaluators.analysis.subjects import Made, holding, noise

PLAIN = [
    "rankme",
    "effective_rank",
    "participation_ratio",
    "isoscore",
    "mean_cosine",
    "uniformity",
    "feature_std",
]
DIMENSIONS = ["two_nn", "mle_dimension"]
CLUSTERS = ["ari", "nmi", "silhouette", "label_silhouette"]


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spec(**fields):
    return FeatureGeometry(**{"neighbours": 5, "restarts": 1, "positives": "none", **fields})


def score(subject, **fields):
    return spec(**fields).build()(subject)


def test_metrics_and_their_order():
    labels = torch.arange(40) % 4
    found = score(Made(noise(40), labels=labels), positives="views")
    assert list(found.metrics) == [*PLAIN, "alignment", *DIMENSIONS, *CLUSTERS]
    assert all(type(value) is float and math.isfinite(value) for value in found.metrics.values())
    assert found.predictions is None


def test_without_labels_there_are_no_clusters_unless_asked_for():
    subject = Made(noise(40))
    assert list(score(subject).metrics) == [*PLAIN, *DIMENSIONS]
    assert list(score(subject, clusters=3).metrics) == [*PLAIN, *DIMENSIONS, "silhouette"]


def test_a_gaussian_of_few_dimensions_in_many():
    """k equal directions: every rank and dimension is near k."""
    k = 4
    basis = torch.linalg.qr(gaussian(24, k, seed=1)).Q
    found = score(holding(gaussian(1500, k) @ basis.T), neighbours=10).metrics
    for name in ("rankme", "effective_rank", "participation_ratio"):
        assert found[name] == pytest.approx(k, rel=0.01)
    assert found["isoscore"] == pytest.approx((k - 1) / 23, rel=0.02)
    assert found["two_nn"] == pytest.approx(k, rel=0.08)
    assert found["mle_dimension"] == pytest.approx(k, rel=0.08)
    assert found["mean_cosine"] == pytest.approx(0, abs=0.01)


def test_a_spread_sphere():
    found = score(holding(F.normalize(gaussian(2000, 8), dim=1))).metrics
    assert found["isoscore"] > 0.98
    assert found["feature_std"] == pytest.approx(1, rel=0.01)
    assert found["mean_cosine"] == pytest.approx(0, abs=0.01)
    expected = math.log(mean_potential(8))
    assert found["uniformity"] == pytest.approx(expected, abs=0.01)


def mean_potential(width):
    """The mean of exp(-4 + 4 cos) over the sphere of d dimensions: cos has density (1 - cos^2)^((d - 3) / 2)."""
    cosine = torch.linspace(-1, 1, 20001, dtype=torch.float64)[1:-1]
    density = (1 - cosine.square()) ** ((width - 3) / 2)
    return ((4 * cosine - 4).exp() * density).sum().item() / density.sum().item()


def test_a_collapsed_network_has_finite_numbers():
    labels = torch.arange(20) % 2
    found = score(holding(torch.ones(20, 6), labels), positives="classes").metrics
    assert all(math.isfinite(value) for value in found.values())
    assert found["rankme"] == pytest.approx(1, abs=1e-4)
    assert found["mean_cosine"] == pytest.approx(1)
    for name in (
        "effective_rank",
        "participation_ratio",
        "isoscore",
        *DIMENSIONS,
        "silhouette",
        "label_silhouette",
    ):
        assert found[name] == 0
    for name in ("uniformity", "feature_std", "alignment", "ari"):
        assert found[name] == pytest.approx(0, abs=1e-6)


def test_features_of_zero_have_finite_numbers():
    found = score(holding(torch.zeros(12, 4))).metrics
    assert all(math.isfinite(value) for value in found.values())
    assert found["rankme"] == 0


def test_an_offset_is_seen_by_what_is_not_centerd():
    values = gaussian(300, 6)
    plain, offset = (score(holding(x)).metrics for x in (values, values + 50))
    assert offset["rankme"] < 1.5 < plain["rankme"]
    assert offset["mean_cosine"] > 0.99
    assert offset["effective_rank"] == pytest.approx(plain["effective_rank"], rel=1e-4)


def test_the_split_and_the_number_of_images_are_those_of_the_spec():
    for split in ("train", "test"):
        subject = Made(noise(30))
        evaluator = spec(split=split, max_images=12, positives="views").build()
        assert evaluator.needs == (split,)
        assert not evaluator.labeled
        scores = evaluator(subject)
        assert set(subject.splits) == {split}
        features, views = subject.read
        assert features == views
        assert len(set(features)) == scores.tables["images"] == 12


def test_a_sample_depends_on_the_seed_alone():
    values = gaussian(60, 5)
    one, again, other = (score(holding(values, seed=s), max_images=30).metrics for s in (1, 1, 2))
    assert one == again
    assert one["rankme"] != other["rankme"]


def test_labels_sample_the_features_that_all_evaluators_share():
    subject = Made(noise(50), labels=torch.arange(50) % 5)
    scores = score(subject, max_images=20)
    assert subject.read == []
    assert scores.tables["images"] == 20


def test_the_table_of_the_spectrum_holds_deviations():
    values = gaussian(200, 5) * torch.tensor([4.0, 2, 1, 0.5, 0.1])
    tables = score(holding(values)).tables
    assert json.loads(json.dumps(tables)) == tables
    assert tables["width"] == 5
    expected = torch.linalg.eigvalsh(torch.cov(values.double().T)).flip(0).sqrt()
    assert tables["spectrum"] == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_figure_is_a_png(tmp_path):
    figures = score(Made(noise(20))).figures
    assert list(figures) == ["spectrum"]
    figures["spectrum"](tmp_path / "spectrum.png")
    assert (tmp_path / "spectrum.png").read_bytes().startswith(b"\x89PNG")


def test_few_images_and_too_many_neighbours_are_errors():
    with pytest.raises(DataError, match="has 3 readable images; geometry needs at least 4"):
        score(Made(noise(3)))
    with pytest.raises(DataError, match="8 neighbours are asked for, but there are only 8 images"):
        score(Made(noise(8)), neighbours=8)


def test_features_that_are_not_finite_are_an_error():
    values = gaussian(10, 4)
    values[6, 1] = float("inf")
    with pytest.raises(DataError, match="1 of 10 test images are not finite, the first of image 6"):
        score(holding(values))


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
def test_rotation_and_scale_change_no_metric(seed, scale):
    """But `feature_std`, a mean over dimensions of roots, which a rotation may change."""
    values = gaussian(24, 5, seed=seed) + 0.5
    turn = torch.linalg.qr(gaussian(5, 5, seed=seed + 1)).Q
    expected = score(holding(values)).metrics
    scaled, turned = score(holding(scale * values)).metrics, score(holding(values @ turn)).metrics
    assert scaled == pytest.approx(expected, rel=2e-3, abs=1e-4)
    del turned["feature_std"], expected["feature_std"]
    assert turned == pytest.approx(expected, rel=2e-3, abs=1e-4)
