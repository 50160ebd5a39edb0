"""Word-to-patch maps of a run, and their figure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import Run
from sslkit.plugin import View
from sslkit_text.specs.scores import ZeroShot
from sslkit_text.word_maps import DPI, MOST_PROMPTS, PICTURE, WordMaps
from tests.plugins.text.test_hybrid import data_of

VIEW = View((8, 8), 1, 1, (0.5,), (0.25,))


def maps_of(maps, words, size=8):
    images = torch.zeros(len(maps), 1, size, size)
    return WordMaps(images, maps, words, VIEW)


def drawn(maps, path):
    maps.draw(path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_row_is_an_image_and_its_maps(tmp_path):
    pixels = drawn(maps_of(torch.rand(3, 2, 2, 2), ["cat", "dog"]), tmp_path / "a.png")
    assert pixels.shape[1] == round(3 * PICTURE * DPI)
    assert pixels.shape[0] > 3 * PICTURE * DPI - 1
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_heat_lies_where_the_cosine_is_high(tmp_path):
    """One prompt is at the upper left; its panel is brightest there."""
    maps = torch.zeros(1, 1, 2, 2)
    maps[0, 0, 0, 0] = 1
    pixels = drawn(maps_of(maps, ["cat"]), tmp_path / "a.png").sum(-1)
    right = pixels[45:, pixels.shape[1] // 2 + 10 : -10]
    height, width = right.shape
    corners = [right[: height // 3, : width // 3], right[-height // 3 :, -width // 3 :]]
    assert np.median(corners[0]) > np.median(corners[1]) + 50


def test_prompts_of_a_row_share_a_scale(tmp_path):
    """A prompt that is nowhere is dark throughout, and not stretched."""
    maps = torch.full((1, 2, 2, 2), -1.0)
    maps[0, 0] = 1
    pixels = drawn(maps_of(maps, ["cat", "dog"]), tmp_path / "a.png").sum(-1)[45:-10]
    third = pixels.shape[1] // 3
    cat, dog = (np.median(pixels[:, third * i + 15 : third * (i + 1) - 15]) for i in (1, 2))
    assert cat > dog + 50


def test_columns_are_few(tmp_path):
    count = MOST_PROMPTS + 4
    pixels = drawn(
        maps_of(torch.rand(1, count, 2, 2), [f"word {i}" for i in range(count)]), tmp_path / "a.png"
    )
    assert pixels.shape[1] == round((MOST_PROMPTS + 1) * PICTURE * DPI)


def test_what_is_drawn_is_no_part_of_the_protocol():
    assert ZeroShot(shown=4).build().protocol == ZeroShot().build().protocol
    assert ZeroShot(templates=("{}",)).build().protocol != ZeroShot().build().protocol


@pytest.mark.parametrize("shown", [0, 3])
def test_a_run_draws_them(tmp_path, shown):
    """From the spec to the PNG; without `shown` there is none."""
    evaluate = [{"kind": "zero_shot", "shown": shown}]
    objectives = {"pairs": {"kind": "clip", "dim": 8}}
    fields = data_of(tmp_path / "run", evaluate=evaluate, objectives=objectives, steps=1)
    del fields["balance"]
    Run(**fields).fit()
    figures = [path for path in (tmp_path / "run").rglob("*.png") if "word_maps" in path.name]
    assert len(figures) == min(shown, 1)
    for path in figures:
        with Image.open(path) as image:
            assert image.width == round(11 * PICTURE * DPI)
