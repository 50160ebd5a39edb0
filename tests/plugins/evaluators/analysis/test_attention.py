"""The protocol of attention, on given weights and on networks."""

from __future__ import annotations

import json
import math
from typing import final

import pytest
import torch

from sslkit import CNN, AttentionStatistics, Swin, ViT
from sslkit.core.backbone import Attentions, Backbone
from sslkit.core.view import Grid
from sslkit.errors import DataError, SpecError
from sslkit.functional.attention_statistics import (
    attention_distance,
    attention_entropy,
    head_distances,
    patch_distances,
)
from sslkit_evaluators.analysis import attention
from sslkit_evaluators.analysis.attention import last_maps, statistics
from tests.plugins.backbones.variants import build, view
from tests.plugins.evaluators.analysis.subjects import Made, noise

WITH_CLASS = ["head_divergence", "head_cosine", "entropy", "distance", "class_entropy"]


@final
class Told(Backbone):
    """Gives the same weights `[H, T, T]` of every block for every image."""

    def __init__(self, grid, prefix, has_class, *layers):
        super().__init__()
        self.cut, self.prefix, self.has_class, self.layers = grid, prefix, has_class, layers
        self.dim, self.depth = 1, len(layers)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches = []

    def grid(self, size):
        return self.cut

    def forward(self, requests):
        raise AssertionError("the evaluator of attention asked for tokens")

    def export(self):
        raise AssertionError("the evaluator of attention asked for an export")

    def attentions(self, images):
        self.batches.append(len(images))
        layers = (weights.expand(len(images), -1, -1, -1) for weights in self.layers)
        return Attentions(self.cut, self.prefix, self.has_class, layers)


def uniform(heads, tokens):
    return torch.full((heads, tokens, tokens), 1 / tokens)


def random(heads, tokens, seed=0):
    return (
        torch.randn(heads, tokens, tokens, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(-1)
    )


def score(subject, **fields):
    return AttentionStatistics(**{"max_images": 9, "shown": 0, **fields}).build()(subject)


def told(*layers, prefix=1, has_class=True, side=2):
    return Told(Grid(side, side, 4), prefix, has_class, *layers)


def test_metrics_and_their_order():
    found = score(Made(noise(9), net=told(random(2, 5), random(2, 5, 1))))
    expected = [name + last for name in WITH_CLASS for last in ("", "_last")]
    assert list(found.metrics) == [*expected, "distance_pixels", "distance_pixels_last"]
    assert all(type(value) is float and math.isfinite(value) for value in found.metrics.values())
    assert found.predictions is None


def test_uniform_attention():
    found = score(Made(noise(9), net=told(uniform(3, 5)))).metrics
    assert found["entropy"] == found["class_entropy"] == pytest.approx(math.log(5), rel=1e-6)
    mean = (4 * 0 + 8 * 1 + 4 * 2**0.5) / 16
    assert found["distance"] == found["distance_last"] == pytest.approx(mean, rel=1e-6)
    assert found["distance_pixels"] == pytest.approx(4 * mean, rel=1e-6)
    assert [found["head_divergence"], found["head_cosine"]] == pytest.approx([0, 0], abs=1e-6)


def test_the_mean_over_blocks_and_the_last_block():
    found = score(Made(noise(9), net=told(torch.eye(5).expand(2, 5, 5), uniform(2, 5))))
    assert found.metrics["entropy_last"] == pytest.approx(math.log(5), rel=1e-6)
    assert found.metrics["entropy"] == pytest.approx(math.log(5) / 2, rel=1e-6)
    assert found.tables["entropy"] == [[0, 0], pytest.approx([math.log(5)] * 2, rel=1e-6)]
    assert found.tables["distance"][0] == [0, 0]


def test_tables_hold_every_block_and_head():
    layers = random(3, 5), random(3, 5, 1)
    tables = score(Made(noise(4), net=told(*layers))).tables
    assert json.loads(json.dumps(tables)) == tables
    assert list(tables) == [*WITH_CLASS, "patch"]
    assert tables["patch"] == 4
    distances = patch_distances(2, 2)
    for block, weights in enumerate(layers):
        pairs = head_distances(weights[None])
        entropy = attention_entropy(weights[None])[0]
        assert tables["entropy"][block] == pytest.approx(entropy.mean(-1).tolist(), rel=1e-5)
        assert tables["class_entropy"][block] == pytest.approx(entropy[:, 0].tolist(), rel=1e-5)
        far = attention_distance(weights[None], distances, prefix=1)[0]
        assert tables["distance"][block] == pytest.approx(far.tolist(), rel=1e-5)
        others = pairs.jensen_shannon[0].sum(-1) / 2
        assert tables["head_divergence"][block] == pytest.approx(others.tolist(), rel=1e-4)
        assert tables["head_cosine"][block] == pytest.approx((pairs.cosine[0].sum(-1) / 2).tolist(), rel=1e-4)


def test_without_a_class_token_there_is_no_class_entropy():
    found = score(Made(noise(4), net=told(random(2, 4), prefix=0, has_class=False)))
    assert not [name for name in (*found.metrics, *found.tables) if "class" in name]
    registers = score(Made(noise(4), net=told(random(2, 6), prefix=2, has_class=False)))
    assert "class_entropy" not in registers.metrics
    assert registers.metrics["distance"] > 0


def test_one_head_differs_from_nobody():
    found = score(Made(noise(4), net=told(random(1, 5)))).metrics
    assert found["head_divergence"] == found["head_cosine"] == 0


def test_large_batches_are_worked_on_in_parts(monkeypatch):
    backbone = build("plain with registers")
    subject = Made(noise(14, side=16), net=backbone)
    whole = score(subject, max_images=14).metrics
    monkeypatch.setattr(attention, "AT_ONCE", 2 * 17**2)
    sizes = []
    inner = backbone.attentions
    monkeypatch.setattr(backbone, "attentions", lambda images: (sizes.append(len(images)), inner(images))[1])
    assert score(subject, max_images=14).metrics == pytest.approx(whole, rel=1e-5)
    assert max(sizes) == 2


@pytest.mark.parametrize("labels", [torch.arange(40) // 10, torch.arange(40) % 4])
def test_maps_are_of_several_classes_in_whatever_order_they_come(labels):
    subject = Made(noise(40), net=told(random(2, 5)), labels=labels)
    AttentionStatistics(max_images=40, shown=4).build()(subject)
    _, shown = subject.read
    assert sorted(labels[shown].tolist()) == [0, 1, 2, 3]


def test_the_images_are_a_sample_of_the_split():
    for split in ("train", "test"):
        subject = Made(noise(40), net=told(random(2, 5)))
        evaluator = AttentionStatistics(split=split, max_images=10, shown=3).build()
        assert evaluator.needs == (split,)
        assert not evaluator.labeled
        evaluator(subject)
        assert set(subject.splits) == {split}
        measured, shown = subject.read
        assert len(set(measured)) == 10
        assert shown == [measured[place] for place in (0, 3, 6)], "evenly spread where there are no labels"
    other = Made(noise(40), net=told(random(2, 5)), seed=6)
    evaluator(other)
    assert other.read[0] != measured


@pytest.mark.parametrize("variant", ["plain with registers", "relpos without a class", "rope of every block"])
def test_networks_of_all_kinds(variant, tmp_path):
    found = score(Made(noise(5, side=16), net=build(variant)), shown=2)
    assert 0 < found.metrics["head_divergence"] < math.log(2)
    assert 0 < found.metrics["head_cosine"] < 1
    assert 0 < found.metrics["distance"] < 3 * 2**0.5
    assert len(found.tables["entropy"]) == 2
    for name, draw in found.figures.items():
        draw(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_statistics_are_of_each_image():
    backbone, images = build("plain with registers"), noise(3, side=16)
    whole = statistics(backbone.attentions(images))
    assert whole.shape == (3, 2, 5, 2)
    single = statistics(backbone.attentions(images[1:2]))
    torch.testing.assert_close(whole[1:2], single, rtol=1e-4, atol=1e-5)


def test_maps_are_those_of_the_class_token_or_of_the_mean_patch():
    first, last = random(2, 5), random(2, 5, 1)
    seen = last_maps(told(first, last).attentions(noise(1)))
    assert torch.equal(seen[0], last[:, 0, 1:])
    without = last_maps(told(last, has_class=False).attentions(noise(1)))
    torch.testing.assert_close(without[0], last[:, 1:, 1:].mean(1))


def test_maps_are_drawn_unless_none_is_wanted():
    subject = Made(noise(4), net=told(random(2, 5)))
    assert list(score(subject, shown=0).figures) == ["layers"]
    assert list(score(subject, shown=9).figures) == ["layers", "maps"]


def test_weights_that_are_not_finite_are_an_error():
    broken = random(2, 5)
    broken[1, 2, 3] = float("nan")
    with pytest.raises(DataError, match="not finite: the network has diverged"):
        score(Made(noise(4), net=told(broken)))


def test_raw_pixels_have_no_attention():
    with pytest.raises(DataError, match="raw pixels have no network"):
        score(Made(noise(4)))


@pytest.mark.parametrize("kind", [CNN, Swin])
def test_networks_that_do_not_tell_say_so(kind):
    subject = Made(noise(4, side=32), net=kind.example().build(view(32)))
    with pytest.raises(SpecError, match="does not tell its attention; use a 'vit'"):
        score(subject)


def test_a_fresh_network_looks_everywhere():
    """Small weights make small scores, so that attention is nearly uniform."""
    spec = ViT(name="vit_tiny_patch16_224", patch=4, width=16, depth=2, heads=2, init="beit")
    found = score(Made(noise(6, side=16), net=spec.build(view()).eval())).metrics
    assert found["entropy"] == pytest.approx(math.log(17), abs=0.02)
    assert found["distance"] == pytest.approx(patch_distances(4, 4).mean().item(), abs=0.02)
    assert found["head_divergence"] < 0.01
