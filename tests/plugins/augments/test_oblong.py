"""Built-in augmentations on views whose sides differ."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sslkit import catalog
from sslkit.core.augment import to_float
from sslkit.functional.resize import Box, center_crop_box, resize_bytes, resize_crop
from sslkit.functional.resize_floats import resize_floats
from sslkit.runtime import seeds
from sslkit.specs.families import AugmentSpec
from sslkit_augments.specs.colors import GaussianBlur
from sslkit_augments.specs.shapes import RandomResizedCrop, Resize

SIDES = (12, 18)


def built_ins() -> list[str]:
    return sorted(kind for kind, cls in catalog.kinds("augment").items() if cls.takes == "image")


@pytest.mark.parametrize("kind", built_ins())
def test_every_built_in_serves_them(kind: str) -> None:
    cls: Any = catalog.kinds("augment")[kind]
    spec = cls.example()
    assert isinstance(spec, AugmentSpec)
    if not spec.oblong:
        pytest.skip(f"{kind} of another distribution serves squares only")
    augment = spec.build(SIDES)
    images = torch.rand(4, 3, *(SIDES if not augment.fixes_size else (20, 40)), generator=seeds.generator(0))
    out = augment(images, seeds.draw(0, kind, rows=torch.arange(4)))
    turned = getattr(spec, "quarters", 0) % 2
    assert out.shape == (4, 3, *(SIDES[::-1] if turned else SIDES))
    assert float(out.min()) >= -1e-5
    assert float(out.max()) <= 1 + 1e-5


def test_crops_of_a_wide_view_are_wide_in_the_mean_and_those_of_a_square_as_ever() -> None:
    draw = seeds.draw(0, "boxes", rows=torch.arange(64))
    wide = RandomResizedCrop(scale=(0.2, 0.3)).build((8, 16))
    assert wide.ratio == pytest.approx((1.5, 8 / 3))  # type: ignore[attr-defined]
    square = RandomResizedCrop().build(224)
    assert square.ratio == (3 / 4, 4 / 3)  # type: ignore[attr-defined]
    ramp = torch.linspace(0, 1, 64).expand(64, 1, 64, 64)
    spread = wide(ramp, draw).amax((1, 2, 3)) - wide(
        ramp, seeds.draw(0, "boxes", rows=torch.arange(64))
    ).amin((1, 2, 3))
    assert float(spread.mean()) > 0.5


@pytest.mark.parametrize("side", [40, 300, 900])
def test_large_images_are_cut_to_other_sides_alike_by_every_way(side: int) -> None:
    image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=seeds.generator(0, side))
    augment, rows = RandomResizedCrop(scale=(0.4, 0.6)).build(SIDES), torch.arange(1)
    cut = augment.cut([image], seeds.draw(0, "cut", rows=rows))
    called = augment(to_float(image[None]), seeds.draw(0, "cut", rows=rows))
    assert cut.shape == (1, 3, *SIDES)
    assert float((to_float(cut) - called).abs().mean()) < 2 / 255
    floats = augment.cut([to_float(image)], seeds.draw(0, "cut", rows=rows))
    assert float((floats - called).abs().max()) < 1e-3


def test_one_image_is_resized_to_two_sides_as_a_batch_is() -> None:
    image = torch.rand(3, 50, 70, generator=seeds.generator(1))
    box = Box(5, 10, 40, 48)
    batch = resize_crop(image[None], torch.tensor([box]), SIDES, "bilinear")[0]
    assert torch.allclose(resize_floats(image, box, SIDES, "bilinear"), batch, atol=1e-5)
    small = (image * 255).to(torch.uint8)
    rounded = resize_bytes(small, box, SIDES, "bilinear").float()
    assert (
        float(
            (rounded - resize_crop(small[None].float(), torch.tensor([box]), SIDES, "bilinear")[0])
            .abs()
            .max()
        )
        < 2
    )


@pytest.mark.parametrize(
    ("height", "width", "aspect", "keep", "box"),
    [
        (10, 20, 1.0, 1.0, (0, 5, 10, 10)),
        (10, 20, 2.0, 1.0, (0, 0, 10, 20)),
        (10, 20, 4.0, 1.0, (2, 0, 5, 20)),
        (10, 20, 0.5, 1.0, (0, 8, 10, 5)),
        (10, 20, 2.0, 0.5, (2, 5, 5, 10)),
        (20, 10, 2.0, 1.0, (8, 0, 5, 10)),
    ],
)
def test_the_center_is_as_large_as_fits(
    height: int, width: int, aspect: float, keep: float, box: tuple[int, int, int, int]
) -> None:
    assert center_crop_box(height, width, keep, aspect) == box


def test_the_center_of_an_image_fills_the_view() -> None:
    image = torch.arange(200.0).reshape(1, 1, 10, 20) / 200
    draw = seeds.draw(0, rows=torch.arange(1))
    assert torch.equal(Resize().build((10, 20))(image, draw), image)
    half = Resize(crop=0.5).build((5, 10))(image, draw)
    assert half.shape == (1, 1, 5, 10)


def test_a_tenth_is_of_the_shorter_side() -> None:
    blur = GaussianBlur(kernel="tenth")
    assert blur.radius((40, 80)) == blur.radius(40) == 2
    assert GaussianBlur(kernel=7).radius((40, 80)) == 3
