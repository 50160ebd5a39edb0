"""Segmentation by linear heads: made scenes are told apart by colors, and by nothing else."""

from __future__ import annotations

import pytest
import torch

from sslkit import Dense
from sslkit.core.view import View
from sslkit.errors import DataError, SpecError
from sslkit.evaluate.evaluation_sources import Sources, require_splits
from sslkit.testing.tiny_run import Noise
from sslkit_evaluators.segmentation.mask_pictures import UNTOLD, colored, unit
from tests import tiny
from tests.plugins.evaluators.networks import network, run
from tests.plugins.evaluators.scene_subjects import REGIONS, Painted, scenes

QUICK = {"learning_rates": (0.003, 0.1), "steps": 100, "batch_size": 8}


@pytest.fixture(scope="module")
def scored():
    return Dense(**QUICK).build()(scenes())


def test_colors_tell_regions(scored):
    assert list(scored.metrics) == ["miou", "pixel_accuracy", "holdout_miou", "learning_rate"]
    assert scored.metrics["miou"] > 0.85
    assert scored.metrics["pixel_accuracy"] > 0.97
    assert [region["name"] for region in scored.tables["regions"]] == list(REGIONS)
    assert scored.tables["regions"][0]["iou"] > 0.97, "only edges are wrong"
    assert scored.predictions is None


def test_tables_fit_together(scored):
    table, metrics = scored.tables, scored.metrics
    confusion = torch.tensor(table["confusion"], dtype=torch.float64)
    assert int(confusion.sum()) == 16 * 32 * 32
    assert metrics["pixel_accuracy"] == pytest.approx(float(confusion.diagonal().sum() / confusion.sum()))
    ious = [region["iou"] for region in table["regions"]]
    assert metrics["miou"] == pytest.approx(sum(ious) / 3)
    assert [region["pixels"] for region in table["regions"]] == confusion.sum(1).tolist()
    accuracies = [region["accuracy"] for region in table["regions"]]
    assert accuracies == pytest.approx((confusion.diagonal() / confusion.sum(1)).tolist())
    low, high = table["interval"]
    assert low < metrics["miou"] < high
    best = max(table["grid"], key=lambda row: row["holdout_miou"])
    assert best["learning_rate"] == metrics["learning_rate"]
    assert best["holdout_miou"] == metrics["holdout_miou"]
    assert [row["learning_rate"] for row in table["grid"]] == [0.003, 0.1]


def test_tokens_that_know_nothing_find_nothing(scored):
    """The best guess is then background everywhere: two regions of three have no overlap."""
    blind = Dense(**QUICK, layer=0).build()(scenes())
    assert blind.metrics["miou"] < 0.4
    assert blind.metrics["miou"] < scored.metrics["miou"] - 0.4
    assert blind.metrics["pixel_accuracy"] < 0.95


def test_tokens_made_anew_give_the_same_numbers(scored):
    again = Dense(**QUICK, memory=0.0).build()(scenes())
    assert again.metrics == scored.metrics
    assert again.tables == scored.tables


def test_seeds_move_the_numbers_and_nothing_else_does(scored):
    torch.manual_seed(123)
    assert Dense(**QUICK).build()(scenes()).metrics == scored.metrics
    assert Dense(**QUICK).build()(scenes(seed=1)).metrics != scored.metrics


def test_test_masks_choose_nothing(scored):
    poisoned = scenes()
    source = poisoned.source("test")
    source.masks = (source.masks + 1) % 3
    found = Dense(**QUICK).build()(poisoned)
    assert found.tables["grid"] == scored.tables["grid"]
    assert found.metrics["learning_rate"] == scored.metrics["learning_rate"]
    assert found.metrics["miou"] < 0.05


def test_untold_pixels_are_not_scored():
    subject = scenes()
    spec = Dense(learning_rates=(0.1,), steps=100)
    for split in ("train", "test"):
        subject.source(split).masks[:, :, 16:] = 255
    found = spec.build()(subject)
    assert int(torch.tensor(found.tables["confusion"]).sum()) == 16 * 32 * 16
    assert found.metrics["miou"] > 0.8


def test_a_region_that_no_test_image_shows_has_no_score():
    subject = scenes()
    source = subject.source("test")
    source.masks[source.masks == 2] = 255
    table = Dense(learning_rates=(0.1,), steps=100).build()(subject).tables["regions"]
    assert (table[2]["accuracy"], table[2]["pixels"]) == (None, 0)
    assert table[1]["accuracy"] > 0.8


def test_damaged_images_are_left_out():
    found = Dense(learning_rates=(0.1,), steps=60).build()(scenes(damaged=frozenset({0, 2, 39})))
    assert found.metrics["miou"] > 0.7


def test_a_network_on_painted_scenes(tmp_path):
    """Even an untrained network's patch tokens tell colors; the figure shows image, truth and prediction."""
    spec = Dense(learning_rates=(0.01,), steps=60, shown=3)
    subject = network(spec, data=Painted())
    scores = run(spec, subject)
    assert scores.metrics["miou"] > 0.5
    assert run(spec, subject).metrics == scores.metrics
    scores.figures["segmentation"](tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    assert run(Dense(learning_rates=(0.01,), steps=2, shown=0), subject).figures == {}


def test_data_without_masks_is_refused_before_training():
    run = tiny.spec()
    with pytest.raises(
        DataError, match=r"^evaluate\.0: 'dense' needs masks, which the train images lack; give a source"
    ):
        require_splits([Dense()], run.data, Sources())
    require_splits([Dense()], Noise(), Sources())


def test_splits_must_name_the_same_regions():
    subject = scenes()
    subject.source("test").regions = ("background", "square")
    with pytest.raises(DataError, match="train has 3 regions and test 2; give both the same names"):
        Dense(**QUICK).build()(subject)
    lacking = scenes()
    lacking.source("test").regions = ()
    with pytest.raises(DataError, match="needs masks, which the test images lack"):
        Dense(**QUICK).build()(lacking)


def test_one_image_cannot_choose():
    with pytest.raises(DataError, match="needs two readable training images, found 1"):
        Dense(**QUICK).build()(scenes(train=1))


def test_specs():
    assert Dense().build().protocol == "dense@1"
    assert Dense(layer=3, shown=1, memory=9.0).build().protocol == "dense@1(layer=3)"
    problems = [p.path for p in Dense(baselines=True).problems(tiny.spec())]
    assert problems == ["baselines"]
    assert list(Dense().problems(tiny.spec())) == []
    with pytest.raises(SpecError, match="learning_rates"):
        tiny.spec(evaluate=[{"kind": "dense", "learning_rates": []}])


def test_colors_are_those_of_pascal_voc():
    """The first entries of the VOC development kit's color map, as its documentation lists them."""
    known = {
        0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 5: (128, 0, 128),
        8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: UNTOLD,
    }  # fmt: skip
    masks = torch.tensor(list(known))[None, None]
    found = (colored(masks)[0, :, 0].T * 255).round().int().tolist()
    assert found == [list(color) for color in known.values()]
    assert len({tuple(c) for c in (colored(torch.arange(256)[None, None])[0, :, 0].T * 255).tolist()}) == 256


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_images_of_any_channels_have_colors(channels):
    pixels = torch.rand(2, channels, 4, 4)
    view = View(4, 1, channels, (0.4,) * channels, (0.2,) * channels)
    found = unit((pixels - 0.4) / 0.2, view)
    expected = pixels[:, :3] if channels >= 3 else pixels[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(found, expected)
