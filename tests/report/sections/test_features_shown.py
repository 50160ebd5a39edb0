"""Features for the page, the gallery and the maps."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sslkit.evaluate.evaluate_network import evaluate_run
from sslkit.report.sections import feature_maps, features_shown, gallery
from sslkit.report.sections.features_shown import Looked, Sample, choose, look
from tests.report.parsed import Page


class Dots:
    """Images of 4 pixels; `classes` names their labels."""

    classes = ("left", "right")

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def load(self, index: int) -> torch.Tensor:
        return torch.full((1, 4, 4), index % 256, dtype=torch.uint8)


def sample(values, labels=None) -> Sample:
    values = torch.tensor(values, dtype=torch.float32)
    source = Dots(len(values))
    return Sample(source, values, torch.arange(len(values)), None if labels is None else torch.tensor(labels))


def looked(bank: Sample, queries: Sample) -> Looked:
    return Looked(bank, queries, 1.0, 4, 8)


CLOUD = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 1.0, 0.1])
HALVES = [0] * 20 + [1] * 20


def test_features_are_those_that_evaluators_read(run_dir, monkeypatch):
    found = look(run_dir)
    assert found.held_out
    assert (len(found.bank.values), len(found.queries.values)) == (1437, 360)
    assert (found.step, found.size, found.crop) == (8, 8, 1.0)
    assert found.queries.label(0) == str(int(found.queries.source.labels[0]))
    monkeypatch.setattr(features_shown, "BANK", 50)
    fewer = look(run_dir, seed=1)
    assert len(fewer.bank.values) == 50
    assert torch.equal(fewer.bank.labels, found.bank.labels[fewer.bank.indices])
    assert torch.allclose(fewer.bank.values, found.bank.values[fewer.bank.indices], atol=1e-5)


def test_kept_features_are_used(run_dir, monkeypatch):
    fresh = look(run_dir)
    evaluate_run(run_dir, only=["knn"], keep=True)

    def refuse(*args):
        raise AssertionError("features are made anew")

    monkeypatch.setattr(features_shown, "rows", refuse)
    monkeypatch.setattr(features_shown, "POINTS", 30)
    kept = look(run_dir)
    assert torch.equal(kept.bank.values, fresh.bank.values)
    assert torch.equal(kept.queries.values, fresh.queries.values[kept.queries.indices])
    assert len(kept.queries.values) == 30


def test_a_choice_is_seeded_sorted_and_without_repetition():
    assert choose(5, 10, 0).tolist() == [0, 1, 2, 3, 4]
    one, again, other = choose(100, 20, 0), choose(100, 20, 0), choose(100, 20, 1)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len(set(one.tolist())) == 20
    assert one.tolist() == sorted(one.tolist())


def test_the_gallery_marks_other_classes_in_words():
    bank = sample([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], [0, 1, 1])
    page = Page(gallery.gallery(looked(bank, sample([[1.0, 0.0]], [0]))))
    alts = [image["alt"] for image in page.all("img")]
    assert alts == [
        "Query, left",
        "Neighbor 1, left, cosine 1.000",
        "Neighbor 2, right, another class, cosine 0.995",
        "Neighbor 3, right, another class, cosine 0.000",
    ]
    assert page.text.count("✗ right") == 2
    assert [a.get("class") for a in page.all("figure")] == ["query", None, "wrong", "wrong"]
    assert "among 3 training images, nearest first, through the readout at step 8." in page.text


def test_a_training_image_is_not_its_own_neighbor():
    bank = sample([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.1, 1.0]], [0, 0, 1, 1])
    own = looked(bank, bank)
    found = gallery._nearest(own)
    assert found.rows.shape == (4, 3)
    assert all(row not in others for row, others in enumerate(found.rows.tolist()))
    assert found.rows[:, 0].tolist() == [1, 0, 3, 2]
    assert "queries are training images, without themselves" in Page(gallery.gallery(own)).text


def test_without_labels_nothing_is_marked():
    bank = sample(CLOUD.tolist())
    page = Page(gallery.gallery(looked(bank, sample(CLOUD.tolist()))))
    assert "✗" not in page.text
    assert "Fewest neighbors" not in page.text
    assert page.all("img")[0]["alt"] == "Query"


def test_the_hardest_come_after_those_at_random():
    bank = sample(CLOUD.tolist(), HALVES)
    page = Page(gallery.gallery(looked(bank, sample(CLOUD.flip(0).tolist(), HALVES))))
    assert [t for t in page.texts if t.startswith(("At random", "Fewest"))] == [
        "At random",
        "Fewest neighbors of their own class",
    ]
    queries = [a for a in page.all("img") if a["alt"].startswith("Query")]
    assert len(queries) == gallery.CHANCE + gallery.HARD


def test_principal_axes_are_those_of_numpy():
    axes, shares = feature_maps._principal(sample(CLOUD.tolist()))
    centerd = (CLOUD - CLOUD.mean(0)).double().numpy()
    values, vectors = np.linalg.eigh(centerd.T @ centerd)
    assert shares == pytest.approx(values[::-1] / values.sum(), rel=1e-5)
    assert np.abs(axes) == pytest.approx(np.abs(centerd @ vectors[:, ::-1]), abs=1e-5)
    again, _ = feature_maps._principal(sample((-CLOUD).tolist()))
    assert np.abs(again) == pytest.approx(np.abs(axes), abs=1e-5)


def test_maps_have_a_path_for_each_class(monkeypatch):
    monkeypatch.setattr(feature_maps, "find_spec", lambda name: None)
    queries = sample(CLOUD.tolist(), HALVES)
    page = Page(feature_maps.maps(looked(sample([[1.0, 0.0, 0.0]]), queries)))
    assert [a["class"] for a in page.all("path")] == ["point round c0", "point round c1"] * 2
    assert all(a["d"].count("M") == 20 for a in page.all("path"))
    assert "left right PCA: 100% of the variance t-SNE 40 test images at step 8." in page.text
    assert "For UMAP, install umap-learn." in page.text
    assert page.all("svg")[1]["aria-label"] == "t-SNE of 40 images, colored by class"


def test_tsne_is_seeded_and_keeps_clusters_apart():
    far = np.concatenate([CLOUD.numpy()[:20], CLOUD.numpy()[20:] + 100]).astype(np.float32)
    one, again = feature_maps.tsne(far, 3), feature_maps.tsne(far, 3)
    assert np.array_equal(one, again)
    inner = max(np.ptp(part, axis=0).max() for part in (one[:20], one[20:]))
    assert np.linalg.norm(one[:20].mean(0) - one[20:].mean(0)) > 0.5 * inner


def test_umap_is_asked_for_where_it_is(monkeypatch):
    """With a stand-in: the real one compiles for a minute when it is imported."""
    asked = {}

    class Standin:
        def __init__(self, **options) -> None:
            asked.update(options)

        def fit_transform(self, axes):
            return axes[:, :2].astype(np.float32)

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Standin))
    monkeypatch.setattr(feature_maps, "find_spec", lambda name: object())
    queries = sample(CLOUD[:10].tolist())
    page = Page(feature_maps.maps(looked(queries, queries), seed=7))
    assert [a["aria-label"].partition(" of ")[0] for a in page.all("svg")][2] == "UMAP"
    assert asked == {"n_neighbors": 9, "random_state": 7, "n_jobs": 1, "init": "pca"}
    assert "install umap-learn" not in page.text


@pytest.mark.parametrize("values", [[[1.0, 2.0]] * 3, [[1.0, 2.0]] * 10])
def test_nothing_to_map(values):
    assert feature_maps.maps(looked(sample(values), sample(values))) is None


def test_many_classes_share_marks(monkeypatch):
    monkeypatch.setattr(feature_maps, "find_spec", lambda name: None)
    monkeypatch.setattr(Dots, "classes", tuple(map(str, range(40))))
    queries = sample(CLOUD.tolist(), list(range(40)))
    page = Page(feature_maps.maps(looked(queries, queries)))
    assert "40 classes share 20 marks." in page.text
    assert {"point square c0", "point round c0"} <= {a["class"] for a in page.all("path")}


def test_one_axis_is_drawn_on_a_line(monkeypatch):
    monkeypatch.setattr(feature_maps, "find_spec", lambda name: None)
    axes, _ = feature_maps._principal(sample([[float(i)] for i in range(8)]))
    assert axes.shape == (8, 2)
    assert not axes[:, 1].any()
