"""From uint8 images to normalized crops."""

from __future__ import annotations

import pytest
import torch

from sslkit.core.augment import to_float, to_uint8
from sslkit.core.view import View
from sslkit.data import crops as train_pipeline
from sslkit.data.crops import Pipeline
from sslkit.functional.resize import resize_center
from sslkit.specs.views import ViewSpec
from tests.fakes_train import pictures

CROP = {"kind": "random_resized_crop", "scale": [0.3, 1.0]}
FLIP = {"kind": "flip"}
AFFINE = {"kind": "random_affine", "degrees": 15, "translate": 0.1}
CHAINS = {
    "crop": [CROP],
    "crop, flip, affine": [CROP, FLIP, AFFINE],
    "affine, flip, crop": [AFFINE, FLIP, CROP],
    "resize, affine": [{"kind": "resize"}, AFFINE],
    "nothing": [],
    "flip": [FLIP],
    "crop, colors, blur": [
        CROP,
        {"kind": "color_jitter"},
        {"kind": "grayscale"},
        {"kind": "gaussian_blur"},
        {"kind": "solarize"},
    ],
}


def pipeline(augment, size=8, crops=1, channels=1, seed=0, mean=(0.3,), std=(0.5,)):
    return Pipeline(
        {"v": ViewSpec(size=size, crops=crops, augment=augment)},
        {"v": View(size, crops, channels, tuple(mean), tuple(std))},
        seed,
    )


@pytest.mark.parametrize("side", [8, 13, 140])
@pytest.mark.parametrize("augment", CHAINS.values(), ids=CHAINS.keys())
def test_workers_and_device_together_make_what_the_device_makes_alone(augment, side):
    """Bit for bit, through the uint8 that travels between them."""
    pipe, images, rows = pipeline(augment, crops=2), pictures(6, side=side), torch.arange(10, 16)
    whole = pipe.crops(images, 7, rows)["v"]
    cut = pipe.first(list(images), 7, rows)["v"]
    assert cut.dtype == torch.uint8
    assert cut.shape == (2, 6, 1, 8, 8)
    rest = pipe.rest({"v": cut}, 7, rows)["v"]
    assert whole.shape == (2, 6, 1, 8, 8)
    assert torch.equal(whole, rest)


@pytest.mark.parametrize("augment", CHAINS.values(), ids=CHAINS.keys())
def test_workers_may_do_it_all(augment):
    pipe, images, rows = pipeline(augment, crops=2), pictures(6, side=70), torch.arange(10, 16)
    whole = pipe.crops(images, 7, rows)["v"]
    pipe.in_workers = True
    finished = pipe.first(list(images), 7, rows)
    assert finished["v"].dtype == torch.float32
    assert torch.equal(pipe.rest(finished, 7, rows)["v"], whole)


@pytest.mark.parametrize("held", [True, False], ids=["held", "decoded"])
def test_pieces_make_what_the_whole_makes(held, monkeypatch):
    """Pieces that do not divide the batch; of images in memory and of those that a worker decodes."""
    pipe, images, rows = (
        pipeline(CHAINS["crop, colors, blur"], crops=2),
        pictures(11, side=13),
        torch.arange(20, 31),
    )
    given = images if held else list(images)
    crops, whole = pipe.first(given, 3, rows), pipe.crops(images, 3, rows)
    monkeypatch.setattr(train_pipeline, "AT_ONCE", 1)
    monkeypatch.setattr(train_pipeline, "FEWEST", 4)
    assert torch.equal(pipe.first(given, 3, rows)["v"], crops["v"])
    assert torch.equal(pipe.rest(crops, 3, rows)["v"], whole["v"])
    assert torch.equal(pipe.crops(images, 3, rows)["v"], whole["v"])
    pipe.in_workers = True
    assert torch.equal(pipe.normalize(pipe.first(given, 3, rows)["v"], "v"), whole["v"])


@pytest.mark.parametrize("augment", CHAINS.values(), ids=CHAINS.keys())
def test_images_of_several_sizes_are_cut_as_they_are_alone(augment):
    images = [pictures(1, side=side)[0] for side in (9, 150, 70, 12)]
    pipe, rows = pipeline(augment, crops=2), torch.arange(4)
    cut = pipe.first(images, 2, rows)["v"]
    alone = [pipe.first([image], 2, row[None])["v"] for image, row in zip(images, rows, strict=True)]
    assert torch.equal(cut, torch.cat(alone, dim=1))


def test_each_crop_has_its_own_list():
    lists = [[CROP], [CROP, {"kind": "solarize", "threshold": 0.0, "probability": 1.0}]]
    view, statistics = View(8, 3, 1, (0.0,), (1.0,)), {"mean": [0.0], "std": [1.0]}
    spec = ViewSpec(size=8, crops=3, by_crop=lists, normalize=statistics)
    made = Pipeline({"v": spec}, {"v": view}, 0).crops(pictures(4), 0, torch.arange(4))["v"]
    plain = Pipeline({"v": ViewSpec(size=8, crops=3, augment=[CROP])}, {"v": view}, 0)
    cuts = plain.crops(pictures(4), 0, torch.arange(4))["v"]
    assert torch.equal(made[0], cuts[0])
    torch.testing.assert_close(made[1], 1 - cuts[1])
    assert torch.equal(made[2], cuts[2])


@pytest.mark.parametrize("augment", CHAINS.values(), ids=CHAINS.keys())
def test_a_batch_cut_in_two_equals_the_whole(augment):
    pipe, images, rows = pipeline(augment, crops=2), pictures(7), torch.arange(7)
    whole = pipe.crops(images, 3, rows)["v"]
    parts = [pipe.crops(images[s], 3, rows[s])["v"] for s in (slice(0, 3), slice(3, 7))]
    assert torch.equal(whole, torch.cat(parts, dim=1))


def test_every_image_crop_step_and_seed_has_a_fate_of_its_own():
    image = pictures(1, side=16)
    same = image.expand(4, -1, -1, -1)
    made = pipeline([CROP], crops=3).crops(same, 0, torch.arange(4))["v"].flatten(0, 1)
    assert len({tuple(x.flatten().tolist()) for x in made}) == 12
    again = pipeline([CROP], crops=3).crops(same, 0, torch.arange(4))["v"].flatten(0, 1)
    assert torch.equal(made, again)
    for other in (
        pipeline([CROP], crops=3, seed=1).crops(same, 0, torch.arange(4)),
        pipeline([CROP], crops=3).crops(same, 1, torch.arange(4)),
        pipeline([CROP], crops=3).crops(same, 0, torch.arange(4, 8)),
    ):
        assert not torch.equal(other["v"].flatten(0, 1), made)


def test_views_are_cut_and_normalized_apart():
    specs = {"a": ViewSpec(size=8, augment=[CROP]), "b": ViewSpec(size=4, crops=2, augment=[CROP])}
    views = {"a": View(8, 1, 3, (0.0,) * 3, (1.0,) * 3), "b": View(4, 2, 3, (0.5,) * 3, (0.25, 0.5, 1.0))}
    made = Pipeline(specs, views, 0).crops(pictures(5, 3), 0, torch.arange(5))
    assert made["a"].shape == (1, 5, 3, 8, 8)
    assert made["b"].shape == (2, 5, 3, 4, 4)
    plain = Pipeline(specs, {**views, "b": View(4, 2, 3, (0.0,) * 3, (1.0,) * 3)}, 0)
    raw = plain.crops(pictures(5, 3), 0, torch.arange(5))["b"]
    for channel, std in enumerate((0.25, 0.5, 1.0)):
        torch.testing.assert_close(made["b"][:, :, channel], (raw[:, :, channel] - 0.5) / std)


def test_two_views_with_the_same_augmentations_draw_different_crops():
    specs = dict.fromkeys("ab", ViewSpec(size=8, augment=[CROP]))
    views = dict.fromkeys("ab", View(8, 1, 1, (0.0,), (1.0,)))
    made = Pipeline(specs, views, 0).crops(pictures(4), 0, torch.arange(4))
    assert not torch.equal(made["a"], made["b"])


def test_a_view_can_have_the_crops_of_another_at_another_size():
    """Both cut and flip alike; what only one does draws as if the other did it too."""
    small = ViewSpec(size=8, crops=2, augment=[CROP, FLIP, {"kind": "color_jitter"}])
    specs = {"a": small, "b": ViewSpec(size=16, crops=2, crops_like="a", augment=[CROP, FLIP])}
    views = {name: View(spec.size, 2, 3, (0.0,) * 3, (1.0,) * 3) for name, spec in specs.items()}
    images = pictures(6, 3)
    crops = Pipeline(specs, views, 0).crops(images, 0, torch.arange(6))
    geometry = {"a": ViewSpec(size=16, crops=2, augment=[CROP, FLIP])}
    large = Pipeline(geometry, {"a": views["b"]}, 0).crops(images, 0, torch.arange(6))
    assert torch.equal(crops["b"], large["a"])
    alone = Pipeline({"a": small}, {"a": views["a"]}, 0).crops(images, 0, torch.arange(6))
    assert torch.equal(crops["a"], alone["a"])


def test_without_an_augmentation_that_fixes_the_size_images_are_cut_at_the_center():
    images = pictures(3, side=20)[:, :, :, :14]
    made = pipeline([], mean=(0.0,), std=(1.0,)).crops(images, 0, torch.arange(3))["v"][0]
    torch.testing.assert_close(made, resize_center(images.float() / 255, 8), atol=0.5 / 255 + 1e-6, rtol=0)


def test_images_of_the_views_size_pass_unchanged():
    images = pictures(3, 3, side=8)
    made = pipeline([], channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).crops(
        images, 0, torch.arange(3)
    )
    back = (
        made["v"][0] * torch.tensor([0.5, 0.6, 0.7])[:, None, None]
        + torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    )
    assert torch.equal(to_uint8(back), images)


def test_uint8_and_float_are_inverse():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(values)), values)
    assert to_uint8(torch.tensor([-0.1, 0.0, 0.4999 / 255, 0.51 / 255, 1.0, 1.1])).tolist() == [
        0,
        0,
        0,
        1,
        255,
        255,
    ]
