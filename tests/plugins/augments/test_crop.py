"""Random resized crops against torchvision's."""

import math

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop
from torchvision.transforms.v2 import functional as V

from sslkit import RandomResizedCrop, Resize
from sslkit.core.augment import to_uint8
from sslkit.core.random_stream import Draw
from sslkit.functional.random_boxes import random_boxes

COUNT = 4000
RATIO = (3 / 4, 4 / 3)


def torchvision_boxes(height: int, width: int, scale: tuple[float, float]) -> torch.Tensor:
    torch.manual_seed(5)
    blank = torch.empty(1, height, width)
    return torch.tensor([TorchvisionCrop.get_params(blank, list(scale), list(RATIO)) for _ in range(COUNT)])


def describe(boxes: torch.Tensor, height: int, width: int) -> dict[str, torch.Tensor]:
    top, left, h, w = boxes.double().unbind(-1)
    return {
        "area": h * w / (height * width),
        "aspect": w / h,
        "middle row": (top + h / 2) / height,
        "middle column": (left + w / 2) / width,
        "top": top,
        "left": left,
    }


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(32, 32, (0.2, 1.0)), (60, 100, (0.08, 1.0)), (50, 20, (0.6, 1.0))]
)
def test_boxes_are_distributed_as_torchvisions(height, width, scale):
    ours = describe(random_boxes(Draw(2, torch.arange(COUNT)), height, width, scale, RATIO), height, width)
    theirs = describe(torchvision_boxes(height, width, scale), height, width)
    worst = {name: ks_2samp(ours[name].numpy(), theirs[name].numpy()).pvalue for name in ours}
    assert min(worst.values()) > 0.005, worst


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 50), (7, 7), (50, 2), (33, 48)])
def test_boxes_lie_inside_the_image(height, width):
    top, left, h, w = random_boxes(Draw(1, torch.arange(2000)), height, width, (0.05, 1.0), RATIO).unbind(-1)
    assert (h >= 1).all()
    assert (w >= 1).all()
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + h <= height).all()
    assert (left + w <= width).all()


@pytest.mark.parametrize(("height", "width"), [(10, 200), (200, 10), (11, 301), (110, 130)])
def test_without_a_fitting_box_the_central_one_is_torchvisions(height, width):
    made = random_boxes(Draw(1, torch.arange(3)), height, width, (1.0, 1.0), RATIO)
    expected = TorchvisionCrop.get_params(torch.empty(1, height, width), [1.0, 1.0], list(RATIO))
    assert made.tolist() == [list(expected)] * 3


def test_the_first_fitting_attempt_counts():
    """Redrawn from the same stream in plain Python."""
    height, width, scale = 30, 64, (0.3, 1.0)
    rows = torch.arange(200)
    made = random_boxes(Draw(8, rows), height, width, scale, RATIO)
    draw = Draw(8, rows)
    shares = draw.uniform(10, low=scale[0], high=scale[1]).tolist()
    logs = draw.uniform(10, low=math.log(RATIO[0]), high=math.log(RATIO[1])).tolist()
    starts = draw.uniform(2).tolist()
    seen = set()
    for row in range(200):
        for attempt in range(10):
            area, aspect = shares[row][attempt] * height * width, math.exp(logs[row][attempt])
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                seen.add(attempt)
                box = [int(starts[row][0] * (height - h + 1)), int(starts[row][1] * (width - w + 1)), h, w]
                assert made[row].tolist() == box
                break
    assert {0, 1, 2} <= seen  # later attempts were needed, so the choice was tested


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_equal_torchvisions_crop_of_the_same_boxes_to_one_level(interpolation):
    """Middle grays: at full contrast torchvision also clips the overshoot between its two passes."""
    rows = torch.arange(12)
    generator = torch.Generator().manual_seed(2)
    bytes_ = torch.randint(70, 180, (12, 3, 40, 56), generator=generator, dtype=torch.uint8)
    spec = RandomResizedCrop(scale=(0.1, 1.0), interpolation=interpolation)
    made = spec.build(24)(bytes_.float() / 255, Draw(3, rows))
    boxes = random_boxes(Draw(3, rows), 40, 56, spec.scale, spec.ratio)
    mode = V.InterpolationMode(interpolation)
    expected = [
        V.resized_crop(image, *box, [24, 24], mode) for image, box in zip(bytes_, boxes.tolist(), strict=True)
    ]
    levels = (to_uint8(made).float() - torch.stack(expected).float()).abs()
    assert levels.max() < 1.01  # torchvision rounds between its two passes
    assert levels.mean() < 0.3


def test_default_is_maes():
    assert RandomResizedCrop().scale == (0.2, 1.0)
    assert RandomResizedCrop().ratio == (0.75, 4 / 3)
    assert RandomResizedCrop().interpolation == "bicubic"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [40, 100, 230])
def test_floats_are_cut_alike_one_by_one_and_together(side, channels):
    """Small images and those of one channel go another way than large ones of several."""
    augment = RandomResizedCrop().build(24)
    images = torch.rand(3, channels, side, side + 10, generator=torch.Generator().manual_seed(side))
    together = augment(images, Draw(4, torch.arange(3)))
    torch.testing.assert_close(
        augment.cut(list(images), Draw(4, torch.arange(3))), together, rtol=0, atol=1e-5
    )
    assert together.std() > 0.01


@pytest.mark.parametrize("side", [40, 100, 150, 200])
@pytest.mark.parametrize("dtype", [torch.uint16, torch.float32])
def test_the_layout_of_deep_images_changes_no_bit(side, dtype):
    """Decoders leave channels side by side, and memory holds planes: workers and memory cut the same crops."""
    values = torch.rand(3, side, side, generator=torch.Generator().manual_seed(side))
    planar = values if dtype == torch.float32 else (values * 65535).to(dtype)
    interleaved = planar.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert planar.stride() != interleaved.stride()
    for augment in (RandomResizedCrop(), Resize()):
        step = augment.build(64)
        crops = [step.cut([image], Draw(3, torch.arange(1))) for image in (planar, interleaved)]
        assert torch.equal(*crops), augment
