"""Properties of every registered augmentation, then what is particular to each."""

import pytest
import torch
from torchvision.transforms.v2 import functional as V

from sslkit import Grayscale, HorizontalFlip, RandomAffine, RandomResizedCrop, Resize, Solarize, catalog
from sslkit.core.augment import to_float
from sslkit.core.random_stream import Draw
from sslkit.errors import SpecError
from sslkit.specs.base import Spec

ROWS = torch.tensor([5, 11, 0, 7, 1 << 40, 3])
DETERMINISTIC = {"resize", "turn"}
EXAMPLES = {"grayscale": Grayscale(probability=0.5), "solarize": Solarize(probability=0.5)}
"""Kinds that change too few of six images by default to see that they are random."""
KINDS = {kind: cls for kind, cls in catalog.kinds("augment").items() if cls.takes == "image"}
"""Those of images; the kit tries the others."""


def images(height: int = 12, width: int = 12, channels: int = 3) -> torch.Tensor:
    """Images in steps of 1/255, as decoded ones are."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (len(ROWS), channels, height, width), generator=generator).float() / 255


@pytest.fixture(params=sorted(KINDS))
def spec(request) -> Spec:
    return EXAMPLES.get(request.param) or KINDS[request.param]()


@pytest.mark.parametrize(("height", "width", "channels"), [(12, 12, 3), (20, 9, 1), (5, 30, 3)])
def test_shape_type_and_range(spec, height, width, channels):
    batch = images(height, width, channels)
    if spec.kind_name() == "turn" and height != width:
        pytest.skip("a quarter turn keeps the shape of squares only")
    augment = spec.build(12)
    made = augment(batch, Draw(1, ROWS))
    assert made.shape == ((len(ROWS), channels, 12, 12) if augment.fixes_size else batch.shape)
    assert made.dtype == torch.float32
    assert made.min() >= 0
    assert made.max() <= 1


def test_the_input_is_left_alone(spec):
    batch = images()
    before = batch.clone()
    spec.build(8)(batch, Draw(1, ROWS))
    assert torch.equal(batch, before)


def test_equal_draws_give_equal_images_and_other_keys_others(spec):
    augment = spec.build(8)
    batch = images().repeat(5, 1, 1, 1)
    first, again, other = (augment(batch, Draw(key, torch.arange(len(batch)))) for key in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (spec.kind_name() in DETERMINISTIC)


def test_rows_differ(spec):
    rows = torch.arange(40)
    same = images()[:1].expand(len(rows), -1, -1, -1)
    made = spec.build(8)(same, Draw(1, rows))
    different = {tuple(image.flatten().tolist()) for image in made}
    assert (len(different) == 1) == (spec.kind_name() in DETERMINISTIC)


def test_an_image_alone_is_bit_equal_to_itself_in_a_batch(spec):
    """Worker processes change images one by one; sources in memory are changed in batches."""
    augment = spec.build(10)
    batch = images(32, 24)
    together = augment(batch, Draw(4, ROWS))
    alone = torch.cat([augment(batch[i : i + 1], Draw(4, ROWS[i : i + 1])) for i in range(len(ROWS))])
    assert torch.equal(alone, together)


@pytest.mark.parametrize("kind", [kind for kind, spec in KINDS.items() if spec().build(9).fixes_size])
@pytest.mark.parametrize("side", [20, 80])
def test_what_fixes_the_size_cuts_bytes_as_bytes_and_all_else_as_floats(kind, side):
    augment = KINDS[kind]().build(9)
    floats = images(side, side + 10)
    deep = (floats * 65535).round().to(torch.int32).to(torch.uint16)
    cut = augment.cut(deep, Draw(3, ROWS))
    assert cut.dtype == torch.float32
    assert torch.equal(augment.cut(list(deep), Draw(3, ROWS)), cut)
    assert torch.equal(augment.cut(to_float(deep), Draw(3, ROWS)), cut)
    torch.testing.assert_close(cut, augment(to_float(deep), Draw(3, ROWS)), rtol=0, atol=1e-5)
    levels = (cut * 255 - (cut * 255).round()).abs()
    assert float(levels.max()) > 0.3, "values between those of bytes are kept"
    small = augment.cut((floats * 255).to(torch.uint8), Draw(3, ROWS))
    assert small.dtype == torch.uint8
    assert float((small.float() / 255 - cut).abs().max()) < 1.5 / 255


@pytest.mark.parametrize(
    "neutral",
    [
        HorizontalFlip(probability=0),
        Resize(),
        RandomResizedCrop(scale=(1, 1), ratio=(1, 1)),
        RandomAffine(degrees=0, translate=0, scale=(1, 1)),
    ],
    ids=lambda spec: spec.kind_name(),
)
def test_neutral_settings_change_nothing(neutral):
    batch = images()
    torch.testing.assert_close(neutral.build(12)(batch, Draw(1, ROWS)), batch, atol=1e-5, rtol=0)


def test_flip_mirrors_each_image_whole_with_the_stated_probability():
    rows = torch.arange(4000)
    batch = torch.tensor([[0.0, 1.0, 0.5]]).expand(4000, 2, 2, 3)
    made = HorizontalFlip(probability=0.3).build(3)(batch, Draw(9, rows))
    flipped = (made == batch.flip(-1)).flatten(1).all(1)
    kept = (made == batch).flatten(1).all(1)
    assert (flipped ^ kept).all()
    assert abs(flipped.float().mean() - 0.3) < 0.03
    assert torch.equal(HorizontalFlip(probability=1).build(3)(batch, Draw(9, rows)), batch.flip(-1))


@pytest.mark.parametrize("shear", [0.0, 20.0])
def test_affine_equals_torchvision_for_the_same_angle_scale_shift_and_slant(shear):
    """On an image that is not square, where angles must not be skewed."""
    batch = images(24, 40)
    spec = RandomAffine(degrees=30, translate=0.2, scale=(0.8, 1.3), shear=shear)
    made = spec.build(24)(batch, Draw(6, ROWS))
    draw = Draw(6, ROWS)
    angles = draw.uniform(low=-30, high=30).tolist()
    shifts = draw.uniform(2, low=-0.2, high=0.2).tolist()
    scales = draw.uniform(low=0.8, high=1.3).tolist()
    slants = draw.uniform(low=-shear, high=shear).tolist() if shear else [0.0] * len(ROWS)
    drawn = zip(batch, made, angles, shifts, scales, slants, strict=True)
    for image, result, angle, (x, y), scale, slant in drawn:
        expected = V.affine(
            image, angle=angle, translate=[x * 40, y * 24], scale=scale, shear=[slant, 0.0],
            interpolation=V.InterpolationMode.BILINEAR,
        )  # fmt: skip
        torch.testing.assert_close(result, expected, atol=2e-3, rtol=0)


def test_affine_padding():
    white = torch.ones(len(ROWS), 1, 16, 16)
    shifted = {
        p: RandomAffine(translate=0.5, padding=p).build(16)(white, Draw(1, ROWS)) for p in ("zeros", "border")
    }
    assert shifted["zeros"].min() == 0
    torch.testing.assert_close(shifted["border"], white)


def test_resize_keeps_the_middle():
    batch = images(10, 20)
    made = Resize(crop=0.8).build(8)(batch, Draw(0, ROWS))
    assert torch.equal(made, batch[:, :, 1:9, 6:14])


@pytest.mark.parametrize(
    ("spec_class", "fields", "message"),
    [
        (RandomResizedCrop, {"scale": (0.8, 0.2)}, "0 < low <= high"),
        (RandomResizedCrop, {"scale": (0.0, 1.0)}, "0 < low <= high"),
        (RandomResizedCrop, {"scale": (0.5, 1.5)}, "at most 1"),
        (RandomResizedCrop, {"ratio": (2.0, 1.0)}, "0 < low <= high"),
        (RandomResizedCrop, {"interpolation": "nearest"}, "bicubic"),
        (RandomAffine, {"scale": (-1.0, 1.0)}, "0 < low <= high"),
        (RandomAffine, {"degrees": -1}, "greater than or equal to 0"),
        (RandomAffine, {"shear": 90}, "less than 90"),
        (RandomAffine, {"padding": "mirror"}, "border"),
        (HorizontalFlip, {"probability": 1.5}, "less than or equal to 1"),
        (Resize, {"crop": 0.0}, "greater than 0"),
    ],
)
def test_bad_settings_are_refused(spec_class, fields, message):
    with pytest.raises(SpecError, match=message):
        spec_class(**fields)
