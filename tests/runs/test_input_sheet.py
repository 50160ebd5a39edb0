"""The sheet of what arrives in the network, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from sslkit.runs import input_sheet
from sslkit.runs.figures import GAP, TITLE
from sslkit.runs.input_sheet import BINS, HISTOGRAM, MARGIN, NAME, SheetRow, ShownCrop, save_sheet

SIDE, CROPS = 160, 2
BORDER = GAP // 2


def rows(count=2, channels=3, size=8, shape=(16, 16)):
    random = torch.Generator().manual_seed(channels)
    crops = [
        [
            ShownCrop(f"view {i}", x * 2 - 1, x)
            for i, x in enumerate(torch.rand(CROPS, channels, size, size, generator=random))
        ]
        for _ in range(count)
    ]
    return [
        SheetRow(f"image {i}", torch.rand(channels, *shape, generator=random), c) for i, c in enumerate(crops)
    ]


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def cell(picture, row, column):
    top = TITLE + row * (SIDE + GAP + NAME) + BORDER
    left = column * (SIDE + GAP) + BORDER
    return picture[top : top + SIDE, left : left + SIDE]


def enlarged(image):
    """`[C, S, S]` in [0, 1] as the sheet shows it."""
    pixels = (image[:3] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    factor = SIDE // pixels.shape[0]
    return pixels.repeat(factor, 0).repeat(factor, 1)


@pytest.mark.parametrize("channels", [3, 4, 13])
def test_images_and_crops_are_exact_pixels(tmp_path, channels):
    sheet = rows(channels=channels)
    save_sheet(tmp_path / "s.png", sheet)
    picture = read(tmp_path / "s.png")
    assert picture.shape == (
        TITLE + 2 * (SIDE + GAP + NAME), (1 + CROPS) * (SIDE + GAP) + 2 * (HISTOGRAM + MARGIN), 3,
    )  # fmt: skip
    for i, row in enumerate(sheet):
        assert np.array_equal(cell(picture, i, 0), enlarged(row.original))
        for j, crop in enumerate(row.crops):
            assert np.array_equal(cell(picture, i, 1 + j), enlarged(crop.pixels))


def test_large_and_oblong_images_are_made_smaller_on_white(tmp_path):
    sheet = rows(1, shape=(400, 100))
    sheet[0] = sheet[0]._replace(original=torch.full((3, 400, 100), 0.2))
    save_sheet(tmp_path / "s.png", sheet)
    original = cell(read(tmp_path / "s.png"), 0, 0)
    assert (original[:, 60:100] == 51).all()
    assert (original[:, :60] == 255).all()
    assert (original[:, 100:] == 255).all()


def test_crops_of_several_sizes_stand_side_by_side(tmp_path):
    sheet = rows(1)
    local = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(1))
    sheet[0] = sheet[0]._replace(crops=[*sheet[0].crops, ShownCrop("local 0", local, local)])
    save_sheet(tmp_path / "s.png", sheet)
    assert np.array_equal(cell(read(tmp_path / "s.png"), 0, 3), enlarged(local))


def figure_of(sheet, tmp_path, monkeypatch):
    kept: list[Figure] = []
    save = input_sheet.save_figure
    monkeypatch.setattr(
        input_sheet, "save_figure", lambda figure, path: (kept.append(figure), save(figure, path))
    )
    save_sheet(tmp_path / "s.png", sheet)
    return kept[0]


@pytest.mark.parametrize("channels", [1, 2, 3, 13])
def test_histograms_are_of_every_channel(tmp_path, monkeypatch, channels):
    sheet = rows(1, channels)
    original, network = figure_of(sheet, tmp_path, monkeypatch).axes
    assert len(original.patches) == len(network.patches) == channels
    values = sheet[0].original[-1].numpy()
    counts, edges = np.histogram(values, BINS, (0, 1), density=True)
    drawn = original.patches[0].get_xy()  # the last channel is drawn last, and comes first among the patches
    assert any(np.allclose(patch.get_xy()[1:-1:2, 1], counts, atol=1e-6) for patch in original.patches), (
        drawn,
        edges,
    )
    assert original.get_xlim()[0] <= 0 < 1 <= original.get_xlim()[1]
    low = min(float(crop.normalized.min()) for crop in sheet[0].crops)
    assert f"{low:.3g} to " in network.get_title()
    assert network.get_title().startswith("network: mean ")


def test_names_are_text_whatever_they_hold(tmp_path, monkeypatch):
    """Neither mathematics, nor bytes that are no text, nor letters that the font lacks end the sheet."""
    names = ["$x_1$ $", "caf\udce9.png", "\u4e2d\u6587.png", "d/" * 200 + "end.png"]
    sheet = [row._replace(name=name) for row, name in zip(rows(4), names, strict=True)]
    texts = [text.get_text() for text in figure_of(sheet, tmp_path, monkeypatch).texts]
    assert texts[3:] == ["$x_1$ $", "caf\\udce9.png", "\u4e2d\u6587.png", texts[-1]]
    assert texts[-1].startswith("…")
    assert texts[-1].endswith("d/end.png")
    assert len(texts[-1]) < 100


def test_constant_images_have_a_histogram_too(tmp_path, monkeypatch):
    sheet = rows(1)
    flat = torch.full((3, 8, 8), 0.5)
    sheet[0] = SheetRow("flat", flat, [ShownCrop("view 0", flat * 0, flat)])
    _, network = figure_of(sheet, tmp_path, monkeypatch).axes
    assert network.get_title() == "network: mean 0.00, std 0.00\n0 to 0"


def test_the_channels_that_are_asked_for_are_shown(tmp_path):
    sheet = rows(count=1, channels=13)
    shown = [row._replace(crops=[crop._replace(show=(3, 12, 1)) for crop in row.crops]) for row in sheet]
    save_sheet(tmp_path / "s.png", shown)
    picture = read(tmp_path / "s.png")
    assert np.array_equal(cell(picture, 0, 0), enlarged(sheet[0].original[[3, 12, 1]]))
    assert np.array_equal(cell(picture, 0, 1), enlarged(sheet[0].crops[0].pixels[[3, 12, 1]]))
