"""Views whose sides differ, and grids of other than two axes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sslkit.build.maskers import make_maskers
from sslkit.cli.validate import overview
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import Scene, make_mask
from sslkit.core.passes import Encode
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.functional.resize import resize_center
from sslkit.specs.families import MaskerSpec
from sslkit.train.compose import compose
from tests import streams, tiny

EXTRA = {"unit": {"unit": 4}, "block": {"min_block": 2}, "inverse_block": {"ratio": 0.5}}
WIDE = {**tiny.VIEW, "size": [8, 16]}


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    with streams.registered():
        yield


def test_mae_trains_on_images_twice_as_wide_as_high() -> None:
    composed, losses = tiny.steps(tiny.spec(views={"global": WIDE}), 6)
    view, grid = composed.env.views["global"], composed.env.grid("global")
    assert (view.shape, view.extent) == ((1, 8, 16), (8, 16))
    assert (grid.shape, grid.patch, str(grid)) == ((2, 4), 4, "2 x 4")
    assert composed.system.nets["student"].grid((8, 16)) == Grid(2, 4, 4)
    assert losses[-1] < losses[0]


def test_mae_trains_on_224_x_448() -> None:
    """A page twice as wide as high, of the usual patches: half of a 448 square."""
    vit = {"kind": "vit", "name": "vit_tiny_patch16_224", "width": 16, "depth": 1, "heads": 2}
    run = tiny.spec(views={"global": {**tiny.VIEW, "size": [224, 448]}}, backbone=vit, batch_size=2)
    composed, losses = tiny.steps(run, 1)
    assert composed.env.grid("global") == Grid(14, 28, 16)
    assert next(tiny.feed(run, composed).step(0)).images["global"].shape == (1, 2, 1, 224, 448)
    assert 0 < losses[0] < 10


def test_every_built_in_masker_of_two_axes_hides_patches_of_an_oblong_grid() -> None:
    for kind in ("random", "bernoulli", "block", "inverse_block", "grid", "unit"):
        masker: dict[str, Any] = {"kind": kind} | EXTRA.get(kind, {})
        objective = {"kind": "simmim", "masker": masker}
        _, losses = tiny.steps(
            tiny.spec(views={"global": {**WIDE, "size": [16, 24]}}, objective=objective), 1
        )
        assert losses[0] > 0, kind


def test_crops_of_three_to_two_are_cut_for_two_views() -> None:
    views = {"global": {**tiny.VIEW, "size": [8, 12], "crops": 2}, "local": {**tiny.VIEW, "size": [4, 8]}}
    objective = {"kind": "dino", "prototypes": 16, "head": {"hidden": 16, "bottleneck": 8}}
    run = tiny.spec(views=views, objective=objective, nets={"teacher": {}})
    composed, losses = tiny.steps(run, 2)
    batch = next(tiny.feed(run, composed).step(0))
    assert batch.images["global"].shape == (2, 32, 1, 8, 12)
    assert batch.images["local"].shape == (1, 32, 1, 4, 8)
    assert all(0 < loss < 20 for loss in losses)


def test_equal_sides_are_one_number() -> None:
    assert tiny.spec(views={"global": {**tiny.VIEW, "size": [8, 8]}}) == tiny.spec()


def test_the_center_has_the_shape_of_the_view() -> None:
    ramp = torch.arange(12.0).expand(1, 1, 6, 12) / 12
    wide = resize_center(ramp, (3, 6))
    assert wide.shape == (1, 1, 3, 6)
    assert wide[0, 0, 0] == pytest.approx(((torch.arange(6) * 2 + 0.5) / 12).tolist(), abs=0.02)
    assert torch.equal(resize_center(ramp, (6, 12)), ramp)
    square = resize_center(ramp, 6)
    assert torch.equal(square, ramp[..., 3:9])


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 2, 3)])
def test_general_maskers_serve_grids_of_any_number_of_axes(shape: tuple[int, ...]) -> None:
    grid = Grid.of(shape, (1,) * len(shape))
    env = Env({"v": View(grid.shape, 1, 1, (), ())}, {"student": NetInfo(4, 1, {"v": grid})}, {"v": grid})
    rows = torch.arange(6)[None]
    for kind in ("random", "bernoulli"):
        spec = tiny.spec(objective={"kind": "simmim", "masker": {"kind": kind, "ratio": 0.5}})
        masker = spec.objective.masker  # type: ignore[union-attr]
        assert isinstance(masker, MaskerSpec)
        mask = make_mask(masker.build(env, "v"), Draw(0, rows), Scene(torch.zeros(1, 6, 1, *grid.shape)))
        assert mask.hidden.shape == (1, 6, grid.patches)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": {"global": WIDE}, "evaluate": [{"kind": "attention"}]},
         "evaluate.0: 'attention' serves equal sides only, and `views.global.size` is 8 x 16"),
        ({"views": {"global": {**tiny.VIEW, "size": [4, 8, 8]}}},
         "views.global.size: has 3 sides, but crops of image have 2 axes"),
        ({"views": {"global": WIDE}, "backbone": {"kind": "timm", "name": "test_resnet"},
          "objective": {"kind": "simclr"}},
         "backbone: 'timm' serves equal sides only, and `views.global.size` is 8 x 16"),
        ({"views": {"global": {**WIDE, "size": [8, 18]}}},
         "backbone.patch: patch 4 does not divide the image size 18"),
    ],
)  # fmt: skip
def test_misfits_are_refused_before_anything_is_built(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        tiny.spec(**changes)
    assert message in str(refused.value)


def test_a_masker_of_two_axes_is_refused_for_symbols() -> None:
    block = {"kind": "simmim", "view": "words", "masker": {"kind": "block"}}
    with pytest.raises(SpecError) as refused:
        streams.spec(objectives={"pairs": streams.PAIRS, "words": block})
    assert "objectives.words.masker: 'block' hides patches along 2 axes, and view 'words' has 1" in str(
        refused.value
    )
    composed = compose(tiny.spec(), tiny.CPU)
    composed.system.plan = (Encode("words", "text", mask=block_masker()),)
    env = compose(streams.spec(), tiny.CPU).env
    with pytest.raises(SpecError, match="'block' hides patches along 2 axes, and view 'words' has 1"):
        make_maskers(composed.system, env)


def block_masker() -> MaskerSpec:
    masker = tiny.spec(objective={"kind": "simmim", "masker": {"kind": "block"}}).objective
    spec = masker.masker  # type: ignore[union-attr]
    assert isinstance(spec, MaskerSpec)
    return spec


def test_what_serves_squares_only_says_so() -> None:
    wide, symbols = View((8, 16), 1, 1, (), ()), Grid.of((5,), (1,))
    with pytest.raises(SpecError, match="serves square crops only, found 8 x 16"):
        _ = wide.size
    with pytest.raises(SpecError, match="needs patches along 2 axes, as images have, found 1: 5"):
        _ = symbols.rows
    with pytest.raises(SpecError, match="needs square patches, found 2 x 4"):
        _ = Grid.of((3, 3), (2, 4)).patch


def test_validate_tells_the_shape() -> None:
    lines = dict(overview(tiny.spec(views={"global": WIDE})))
    assert lines["view global"] == "1 x 8 x 16 pixels, 2 x 4 patches of 4"
    words = dict(overview(streams.spec()))
    assert words["view words"] == "1 x 7 tokens (letters), 7 patches of 1"
    assert words["tower text"] == "letter_net"
