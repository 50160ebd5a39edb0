"""Changes of color against torchvision's kernels (transforms v2, float), pixel by pixel."""

import itertools

import pytest
import torch
from torchvision.transforms.v2 import functional as V

from sslkit.errors import DataError
from sslkit.functional import color, row_subsets
from sslkit.functional.color import (
    OPERATIONS,
    brightness,
    contrast,
    grayscale,
    hue,
    jitter,
    jitter_fixed,
    luma,
    require_color,
    saturation,
    solarize,
)

PAIRS = {
    "brightness": (brightness, V.adjust_brightness, (0.0, 0.6, 1.0, 1.8)),
    "contrast": (contrast, V.adjust_contrast, (0.0, 0.2, 1.0, 1.8)),
    "saturation": (saturation, V.adjust_saturation, (0.0, 0.4, 1.0, 1.8)),
    "hue": (hue, V.adjust_hue, (-0.5, -0.2, 0.0, 0.1, 0.5)),
}


def images(count: int = 5, channels: int = 3, height: int = 17, width: int = 13) -> torch.Tensor:
    """Bytes as floats, with gray, black, white, pure and tied pixels, where hues are easily got wrong."""
    made = (
        torch.randint(0, 256, (count, channels, height, width), generator=torch.Generator().manual_seed(1))
        / 255
    )
    special = torch.tensor([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0],
                            [0, 1, 1], [1, 0, 1], [0.2, 0.2, 0.7], [0.7, 0.2, 0.7], [0.9, 0.4, 0.4]])  # fmt: skip
    made[:, :, 0, :12] = special.T[:channels]
    return made


def column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None, None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_each_change_is_torchvisions_to_1e_5(name, channels):
    ours, theirs, values = PAIRS[name]
    for value in values:
        batch = images(channels=channels)
        before = batch.clone()
        torch.testing.assert_close(ours(batch, column([value] * 5)), theirs(batch, value), atol=1e-5, rtol=0)
        assert torch.equal(batch, before)


@pytest.mark.parametrize("name", PAIRS)
def test_each_image_has_a_factor_of_its_own(name):
    ours, theirs, values = PAIRS[name]
    some = [values[i % len(values)] for i in range(5)]
    expected = torch.stack([theirs(image, value) for image, value in zip(images(), some, strict=True)])
    torch.testing.assert_close(ours(images(), column(some)), expected, atol=1e-5, rtol=0)


def test_results_stay_in_range():
    for ours, _, values in PAIRS.values():
        for value in values:
            made = ours(images(), column([value] * 5))
            assert made.min() >= 0
            assert made.max() <= 1


def test_gray_values_are_torchvisions():
    torch.testing.assert_close(luma(images()), V.rgb_to_grayscale(images(), 1), atol=1e-6, rtol=0)
    torch.testing.assert_close(grayscale(images()), V.rgb_to_grayscale(images(), 3), atol=1e-6, rtol=0)
    gray = images(channels=1)
    assert torch.equal(grayscale(gray), gray)


def test_solarize_is_torchvisions_and_pils_for_bytes():
    levels = (torch.arange(256) / 255)[None, None, None].expand(1, 3, 1, -1)
    made = solarize(levels, 0.5)
    assert torch.equal(made, V.solarize(levels, 0.5))
    bytes_ = torch.arange(256, dtype=torch.uint8)[None, None].expand(3, 1, -1)
    assert torch.equal((made[0] * 255).round().to(torch.uint8), V.solarize(bytes_, 128))
    assert torch.equal(solarize(levels, 1.0)[..., :255], levels[..., :255])


def drawn(count: int, seed: int = 3):
    generator = torch.Generator().manual_seed(seed)
    factors = torch.rand(count, 4, generator=generator) * torch.tensor([1.6, 1.6, 1.6, 0.4]) + torch.tensor(
        [0.2, 0.2, 0.2, -0.2]
    )
    order = torch.rand(count, 4, generator=generator).argsort(-1)
    return factors, order, torch.rand(count, generator=generator) < 0.7


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jitter_is_torchvisions_changes_one_after_another(channels):
    batch = images(40, channels)
    factors, order, chosen = drawn(40)
    made = jitter(batch, factors, order, chosen)
    for i, image in enumerate(batch):
        expected = image
        for operation in order[i].tolist() if chosen[i] else ():
            expected = PAIRS[OPERATIONS[operation]][1](expected, factors[i, operation].item())
        torch.testing.assert_close(made[i], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("used", [OPERATIONS, ("brightness", "hue"), ("contrast", "saturation"), ()])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_way_of_fixed_shapes_equals_the_grouped_one(used, channels):
    """What a GPU does, on a CPU."""
    batch, parameters = images(60, channels), drawn(60, 8)
    grouped, fixed = jitter(batch, *parameters, used), jitter_fixed(batch, *parameters, used)
    torch.testing.assert_close(fixed, grouped, atol=2e-6, rtol=0)


def test_every_order_is_done_as_it_says_in_pieces_that_cut_runs(monkeypatch):
    """All 24 orders, images scattered, and so few at once that runs of one operation are cut."""
    monkeypatch.setattr(row_subsets, "CACHEFUL", 7 * 3 * 17 * 13)
    orders = torch.tensor(list(itertools.permutations(range(4)))).repeat(2, 1)
    orders = orders[torch.randperm(48, generator=torch.Generator().manual_seed(2))]
    batch, (factors, _, chosen) = images(48), drawn(48, 5)
    made = jitter(batch, factors, orders, chosen)
    for i in range(48):
        expected = batch[i : i + 1]
        for which in orders[i].tolist() if chosen[i] else ():
            expected = PAIRS[OPERATIONS[which]][0](expected, factors[i : i + 1, which, None, None, None])
        assert torch.equal(made[i], expected[0])
    assert torch.equal(batch, images(48))


def test_an_order_that_keeps_equal_operations_together_needs_few_calls(monkeypatch):
    calls = []
    monkeypatch.setattr(
        color,
        "_OPERATION",
        tuple(lambda x, _, which=which: calls.append((which, len(x))) for which in range(4)),
    )
    orders = torch.tensor(list(itertools.permutations(range(4)))).repeat(10, 1)
    batch, everyone = images(240, height=4, width=12), torch.ones(240, dtype=torch.bool)
    jitter(batch, torch.ones(240, 4), orders, everyone)
    assert sum(count for _, count in calls) == 4 * 240
    assert len([count for which, count in calls if which == 3]) == 4
    assert len(calls) <= 60 < 4 * 24


def test_hues_of_all_colors_and_shifts_are_torchvisions():
    """A grid of colors, ties of every kind among them, against turns all round the circle."""
    levels = torch.linspace(0, 1, 6)
    grid = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).reshape(1, 3, 12, 18)
    for shift in torch.linspace(-0.5, 0.5, 21).tolist():
        torch.testing.assert_close(hue(grid, column([shift])), V.adjust_hue(grid, shift), atol=1e-5, rtol=0)


def test_unused_changes_are_left_out():
    batch, (factors, order, _) = images(6), drawn(6)
    everyone = torch.ones(6, dtype=torch.bool)
    made = jitter(batch, factors, order, everyone, ("brightness",))
    assert torch.equal(made, brightness(batch, factors[:, 0, None, None, None]))


def test_an_image_alone_is_bit_equal_to_itself_in_a_batch():
    """Sizes that vector units do not divide: every value must be rounded alike."""
    batch, (factors, order, chosen) = images(30, height=9, width=13), drawn(30)
    together = jitter(batch, factors, order, chosen)
    for i in range(30):
        one = slice(i, i + 1)
        assert torch.equal(jitter(batch[one], factors[one], order[one], chosen[one])[0], together[i])


def test_colors_need_three_channels():
    assert require_color(images(), "x")
    assert not require_color(images(channels=1), "x")
    with pytest.raises(DataError, match=r"color_jitter: the images have 2 channels; colors need 3"):
        require_color(torch.rand(1, 2, 4, 4), "color_jitter")
