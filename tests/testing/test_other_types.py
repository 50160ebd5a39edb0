"""The kit tries kinds of other types with the registered ones that fit them."""

from __future__ import annotations

import pytest
import torch

from sslkit.core.view import Grid
from sslkit.errors import PluginError
from sslkit.testing import families, other_types
from sslkit.testing.promises import masker_promises
from sslkit.testing.tiny_run import kit_view, kit_views, stage
from sslkit_video.specs.frames import Frames
from sslkit_video.specs.masks import Tube
from sslkit_video.specs.sources import MovingDigits


def test_views_of_clips_come_of_the_stream_of_videos():
    views = kit_views("clip")
    assert {view.stream for view in views.values()} == {"video"}
    assert all(isinstance(view.transform, Frames) for view in views.values())
    view = kit_view("clip")
    assert view.shape == (3, 32, 32, 32)
    assert len(view.mean) == 3


def test_no_transform_makes_what_nobody_knows():
    assert other_types.reading_of("smell") is None
    assert kit_views("smell") == {}
    with pytest.raises(PluginError, match="no view of smell"):
        kit_view("smell")


def test_readers_are_found_by_axes_and_by_stream():
    assert other_types.reader_of(3).takes == "clip"
    assert other_types.reader_of(4) is None
    assert other_types.network_of("video").takes == "clip"
    assert other_types.network_of("smell") is None


def test_a_masker_of_three_axes_hides_cubelets():
    parts = families._PARTS["masker"](Tube())
    assert parts["backbone"].takes == "clip"
    assert masker_promises._grid(Tube()) == Grid.of((4, 7, 7), (2, 16, 16))
    families._fits(stage(**parts), trained=False)


def test_a_source_of_videos_is_read_by_a_network_of_clips():
    parts = families._PARTS["source"](MovingDigits.example())
    assert parts["backbone"].takes == "clip"
    families._fits(stage(**parts), trained=False)


def test_what_no_plugin_offers_is_named(monkeypatch):
    monkeypatch.setattr(families, "reader_of", lambda axes: None)
    with pytest.raises(PluginError, match="patches along 3 axes, and no plugin offers"):
        families._PARTS["masker"](Tube())


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_grids_of_maskers_have_as_many_patches(axes):
    grid = masker_promises.GRIDS[axes]
    assert len(grid.shape) == axes
    assert torch.tensor(grid.shape).prod() == 196
