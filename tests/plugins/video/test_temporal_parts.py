"""Parts of temporal objectives: order, nearness, flow and its colors, blocks over all moments."""

from __future__ import annotations

import math

import pytest
import torch

from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import Scene, broken_blocks, broken_promise
from sslkit.core.passes import Tokens
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.runtime import seeds
from sslkit_maskers.specs.multi_block import MultiBlockMasker
from sslkit_video.flow_colors import flow_colors
from sslkit_video.optical_flow import optical_flow
from sslkit_video.specs.motion import Flow, OpticalFlow
from sslkit_video.specs.order import ArrowOfTime, FrameOrder, Reorder
from sslkit_video.specs.sources import MovingDigits
from sslkit_video.specs.temporal import TemporalConsistency, TemporalInfoNCE

GRID = Grid.of((2, 4, 4), (2, 4, 4))
VIEW = View((4, 16, 16), 2, 1, (0.1,), (0.25,), type="clip", stream="video", axes=3)
ENV = Env({"global": VIEW}, {"student": NetInfo(8, 1, {"global": GRID})}, {"global": GRID})


def seen(patch, image=None, cls=None):
    image = torch.zeros(*patch.shape[:2], 1, 4, 16, 16) if image is None else image
    return Tokens(image, patch.mean(2) if cls is None else cls, patch, None, ())


def test_parts_stand_in_the_order_that_is_given_and_run_forwards():
    clip = torch.arange(6.0).reshape(1, 1, 6, 1, 1)
    assert Reorder(order=(2, 0, 1)).build((6, 8, 8))(clip, None).flatten().tolist() == [4, 5, 0, 1, 2, 3]
    assert Reorder().build((6, 8, 8))(clip, None).flatten().tolist() == [5, 4, 3, 2, 1, 0]


def test_an_order_names_each_part_once_and_divides_the_frames():
    with pytest.raises(SpecError, match="each number from 0 once"):
        Reorder(order=(0, 2))
    with pytest.raises(SpecError, match="4 frames are not 3 equal parts"):
        Reorder(order=(2, 0, 1)).build((4, 8, 8))


@pytest.mark.parametrize(("spec", "classes"), [(ArrowOfTime(), 2), (FrameOrder(), 6)])
def test_a_classifier_that_knows_the_order_has_no_loss(spec, classes):
    objective = spec.build(ENV)
    assert objective.crops == {"global": classes}
    objective.head.weight.data.copy_(torch.eye(classes, 8) * 50)
    objective.head.bias.data.zero_()
    cls = torch.eye(classes, 8)[:, None].expand(-1, 3, -1)
    output = objective({}, seen(torch.zeros(classes, 3, 32, 8), cls=cls))
    assert output.loss.item() == pytest.approx(0, abs=1e-6)
    assert output.metrics["accuracy"].item() == 1


def test_moments_that_are_alike_are_near_and_clips_that_differ_are_not():
    torch.manual_seed(0)
    place = torch.randn(2, 3, 1, 16, 8)
    still = place.expand(-1, -1, 2, -1, -1).flatten(2, 3)
    objective = TemporalConsistency(moments=2.0, clips=0.5, loss="l2").build(ENV)
    output = objective({}, seen(still))
    assert output.metrics["moment_distance"].item() == pytest.approx(0, abs=1e-12)
    expected = (still.mean(2)[0] - still.mean(2)[1]).square().mean()
    assert output.metrics["clip_distance"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert output.loss.item() == pytest.approx(0.5 * expected.item(), rel=1e-5)


def test_nothing_held_near_is_refused():
    (problem,) = TemporalConsistency(moments=0).problems(None)
    assert problem.path == "moments"


@pytest.mark.parametrize("queue", [0, 12])
def test_temporal_infonce_is_the_core_s_with_other_defaults(queue):
    spec = TemporalInfoNCE(queue=queue, projector={"hidden": 8, "out": 4})
    engine = spec.engine()
    assert engine.kind_name() == "infonce"
    assert (engine.queue, engine.in_batch, engine.joint_norm) == (queue, not queue, not queue)
    assert spec.min_batch == (1 if queue else 2)


@pytest.mark.parametrize("method", ["dis", "farneback"])
def test_flow_finds_how_digits_move(method):
    """Digits that do not turn, a pixel a frame."""
    source = MovingDigits(videos=40, test_videos=1, speeds=(1.0, 1.0, 1.0), turn=0.0).build("train")
    frames = source.resident()[:, 0, 6:10]
    flow = optical_flow(frames, method)
    assert flow.shape == (40, 2, 4, 32, 32)
    assert torch.equal(flow[:, :, 3], flow[:, :, 2])
    inside = frames[:, 1] > 64
    mean = torch.stack([(flow[:, i, 1] * inside).sum((1, 2)) / inside.sum((1, 2)) for i in range(2)], 1)
    angle = source.motion.direction * math.pi / 4
    error = (mean - torch.stack([angle.cos(), angle.sin()], 1)).norm(dim=1)
    assert error.median() < 0.2


def test_a_target_of_flow_has_two_numbers_a_cell_and_scores_what_is_wrong():
    target = OpticalFlow(cells=2, method="farneback", loss="l1").build(ENV, "global")
    moving = torch.zeros(1, 1, 1, 4, 16, 16)
    for frame in range(4):
        moving[..., frame, 4:10, 3 + frame : 9 + frame] = 3.0
    goal = target(seen(torch.zeros(1, 1, 32, 8), moving))
    assert goal.shape == (1, 1, 32, 8)
    right = goal.unflatten(-1, (4, 2))[..., 0]
    assert right.max() > 0.5
    assert target.score(goal[0, 0], goal[0, 0]).abs().max() == 0
    errors = target.metrics(torch.zeros(32, 8), goal[0, 0], torch.ones(32, dtype=torch.bool))
    assert errors["end_point_error"] == errors["end_point_error_of_none"] > 0
    assert target.to_image(goal, seen(torch.zeros(1, 1, 32, 8), moving)).shape == moving.shape


def test_flow_objective_draws_clips_flow_and_prediction():
    objective = Flow(target={"kind": "optical_flow", "method": "farneback"}).build(ENV)
    tokens = seen(torch.randn(2, 3, 32, 8), torch.rand(2, 3, 1, 4, 16, 16))
    assert objective({}, tokens).loss.ndim == 0
    pictures = objective.pictures(tokens)["flow"]
    assert pictures.columns == ("input", "flow", "prediction")
    assert pictures.images.shape == (3, 3, 3, 4, 16, 16)


def test_flow_needs_frames_and_pixels():
    small = ENV._replace(views={"global": VIEW._replace(size=(4, 8, 8))})
    with pytest.raises(SpecError, match="16 pixels a side or more"):
        OpticalFlow().build(small, "global")
    with pytest.raises(SpecError, match="cells 3 do not divide"):
        OpticalFlow(cells=3).build(ENV, "global")


def test_colors_tell_direction_and_speed():
    flow = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 0.0]]).reshape(3, 2, 1, 1, 1)
    right, left, still = flow_colors(flow).flatten(1)
    assert right.tolist() == pytest.approx([1, 0, 0], abs=1e-5)
    assert left.tolist() == pytest.approx([0, 1, 1], abs=1e-5)
    assert still.tolist() == [0, 0, 0]


@pytest.mark.parametrize("targets", [1, 3])
def test_blocks_of_clips_reach_over_all_moments_and_are_one(targets):
    """Each predicted patch once, in order, none of them shown to the encoder."""
    grid = Grid.of((3, 8, 8), (2, 4, 4))
    env = Env({"global": VIEW}, {"student": NetInfo(8, 1, {"global": grid})}, {"global": grid})
    spec = MultiBlockMasker(
        ratio=0.6, targets=targets, scale=(0.2, 0.2), context=(1.0, 1.0), edges=True, joined=True
    )
    masker = spec.build(env, "global")
    rows = torch.arange(12).reshape(2, 6)
    scene = Scene(torch.zeros(2, 6, 1, 6, 32, 32))
    hidden, blocks = masker.sample_blocks(seeds.draw(0, "mask", rows=rows), scene)
    assert broken_promise(masker, hidden, (2, 6, 192)) is None
    assert broken_blocks(masker, blocks, rows.shape) is None
    assert torch.equal(hidden[..., :64], hidden[..., 64:128])
    for mask, block in zip(hidden.flatten(0, 1), blocks.flatten(0, 2), strict=True):
        places = block[block >= 0]
        assert len(places.unique()) == len(places) > 0
        assert torch.equal(places, places.sort().values)
        assert mask[places].all()
        assert (block[len(places) :] == -1).all()


def test_v_jepa_blocks_are_as_large_as_the_reference_s(golden):
    """Golden vjepa2_masks_loss: heights and widths of 8 blocks of 0.15 and 2 of 0.7 on 16 x 16 places."""
    from sslkit_maskers.block_sizes import block_sizes

    arrays, grid = golden("vjepa2_masks_loss"), Grid(16, 16, 16)
    for place, scale in enumerate((0.15, 0.7)):
        theirs = {tuple(size) for size in arrays[f"sizes_{place}"][:, 1:].tolist()}
        ours = {tuple(size) for size in block_sizes(grid, (scale, scale), (0.75, 1.5), edges=True)}
        assert theirs <= ours
    assert set(block_sizes(grid, (1.0, 1.0), (1.0, 1.0), edges=True)) == {(16, 16)}
