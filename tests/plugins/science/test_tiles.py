"""Tiles and layouts: every pixel is in a tile, and every place of an axis is an image."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit_science.axes import axes_problem
from sslkit_science.layout import Layout, Window, layout_of
from sslkit_science.reader import Plane, native, require_numbers
from sslkit_science.tiles import windows


def plane(height: int, width: int) -> Plane:
    return Plane((0,), "", 1, height, width)


@pytest.mark.parametrize(("height", "width", "tile"), [(64, 64, 16), (50, 70, 24), (10, 70, 24), (9, 8, 24)])
def test_tiles_cover_an_image_with_one_size(height, width, tile):
    covered = np.zeros((height, width), int)
    every = windows(plane(height, width), tile)
    for y, x, rows, columns in every:
        covered[y : y + rows, x : x + columns] += 1
    assert covered.min() == 1
    assert {(window.height, window.width) for window in every} == {(min(tile, height), min(tile, width))}
    assert len(set(every)) == len(every)


def test_without_tiles_an_image_is_whole():
    assert windows(plane(9, 8), None) == [Window(0, 0, 9, 8)]


@pytest.mark.parametrize("axes", ["TZCYX", "CYXT", "XYC", "YX", "NTZYXC"])
def test_selections_are_the_images_of_an_array(axes):
    sizes = {"T": 2, "Z": 3, "C": 4, "Y": 9, "X": 8, "N": 2}
    array = np.arange(np.prod([sizes[axis] for axis in axes])).reshape([sizes[axis] for axis in axes])
    layout = Layout(axes, array.shape)
    seen = [layout.arranged(array[layout.selection(i, Window(0, 0, 9, 8))]) for i in range(layout.images)]
    assert {image.shape for image in seen} == {(layout.channels, 9, 8)}
    assert sorted(np.concatenate([image.reshape(-1) for image in seen])) == list(range(array.size))
    part = layout.arranged(array[layout.selection(0, Window(2, 3, 4, 5))])
    np.testing.assert_array_equal(part, seen[0][:, 2:6, 3:8])
    assert len({layout.name(i) for i in range(layout.images)}) == layout.images


def test_synonyms_and_problems():
    assert layout_of((2, 9, 8, 3), "NHWC", "x").axes == "NYXC"
    assert axes_problem("NCYX") is None
    assert "names an axis twice" in axes_problem("HYX")


def test_numbers_are_native_and_real():
    big = np.array([[1, 256]], dtype=">u2")
    assert native(big).dtype.isnative
    np.testing.assert_array_equal(native(big), big)
    require_numbers(np.dtype("float16"), "x")
