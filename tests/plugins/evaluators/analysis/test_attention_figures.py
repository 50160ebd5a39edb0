"""Figures show what they are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit_evaluators.analysis.attention_figures import DPI, Maps, draw_layers, draw_maps, draw_spectrum

RANKS = {"participation_ratio": 2.0, "effective_rank": 3.0, "rankme": 3.5}


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(
    "deviations", [[3.0, 1.0, 0.1], [1.0], [0.0, 0.0], [2.0, 1e-20], list(range(500, 0, -1))]
)
def test_spectra_of_all_kinds_are_drawn(tmp_path, deviations):
    draw_spectrum(deviations, RANKS, tmp_path / "spectrum.png")
    found = pixels(tmp_path / "spectrum.png")
    assert found.shape == (3 * DPI, round(2 * 4.4 * DPI), 3)
    assert (found != 255).any()


def test_the_same_spectrum_is_the_same_picture(tmp_path):
    for name, values in (("a", [3.0, 1.0]), ("b", [3.0, 1.0]), ("c", [3.0, 2.0])):
        draw_spectrum(values, RANKS, tmp_path / f"{name}.png")
    one, again, other = (pixels(tmp_path / f"{name}.png") for name in "abc")
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_there_is_a_panel_for_each_table(tmp_path):
    tables = {"entropy": [[1.0, 2.0], [0.5, 0.7]], "distance": [[3.0, 4.0], [3.5, 3.6]]}
    draw_layers(tables, tmp_path / "two.png")
    draw_layers({"entropy": tables["entropy"]}, tmp_path / "one.png")
    one, two = (pixels(tmp_path / f"{name}.png").shape for name in ("one", "two"))
    assert two == (one[0], 2 * one[1], 3)
    five = ("head_divergence", "head_cosine", "entropy", "distance", "class_entropy")
    draw_layers(dict.fromkeys(five, tables["entropy"]), tmp_path / "five.png")
    assert pixels(tmp_path / "five.png").shape == (2 * one[0], 3 * one[1], 3)


def maps(images=2, heads=3, channels=3):
    generator = torch.Generator().manual_seed(0)
    return Maps(
        torch.randn(images, channels, 16, 16, generator=generator),
        torch.rand(images, heads, 4, 4, generator=generator),
        (0.5,) * channels,
        (0.25,) * channels,
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_number_of_channels_are_shown(tmp_path, channels):
    draw_maps(maps(channels=channels), tmp_path / "maps.png")
    found = pixels(tmp_path / "maps.png").astype(int)
    picture = found[:, : found.shape[1] // 5]
    colored = np.abs(picture[..., 0] - picture[..., 2]).max() > 20
    assert colored == (channels >= 3)


def test_the_channels_that_are_asked_for_are_shown(tmp_path):
    flat = torch.zeros(1, 5, 16, 16)
    flat[:, 3] = 2.0  # of mean 0.5 and deviation 0.25: white
    bands = maps(images=1, heads=1, channels=5)._replace(images=flat, show=(0, 3, 1))
    draw_maps(bands, tmp_path / "maps.png")
    found = pixels(tmp_path / "maps.png").astype(int)
    middle = found[found.shape[0] * 2 // 3, found.shape[1] // 6]
    assert middle[1] == 255
    assert middle[0] == middle[2] < 140


def test_normalization_is_undone(tmp_path):
    """An image of its mean is gray of that mean."""
    flat = maps(images=1, heads=1)._replace(images=torch.zeros(1, 3, 16, 16), mean=(0.2, 0.6, 0.4))
    draw_maps(flat, tmp_path / "maps.png")
    found = pixels(tmp_path / "maps.png")
    color = np.array([51, 153, 102])
    assert (np.abs(found.astype(int) - color).max(-1) <= 1).mean() > 0.1


def test_the_first_heads_of_many_are_shown(tmp_path):
    draw_maps(maps(heads=8), tmp_path / "eight.png")
    draw_maps(maps(heads=16), tmp_path / "many.png")
    draw_maps(maps(heads=2), tmp_path / "two.png")
    eight, many, two = (pixels(tmp_path / f"{name}.png").shape for name in ("eight", "many", "two"))
    assert eight == many
    assert two[1] < eight[1]
    assert two[0] == eight[0]
