"""Two clips of a video at a distance that is drawn, and spans that grow with the steps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.core.transform import CropPlace
from sslkit.core.view import View
from sslkit.data.crops import Pipeline
from sslkit.errors import SpecError
from sslkit.runtime import seeds
from sslkit.specs.load import parse
from sslkit.specs.views import ViewSpec
from sslkit_video.frame_numbers import paired_starts
from sslkit_video.specs.frames import Frames

WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}
SIZE = (4, 8, 8)


def numbered(length):
    """Frame i is of the gray i."""
    return torch.arange(length, dtype=torch.uint8)[None, :, None, None].expand(1, -1, 8, 8).clone()


def draws(rows, *name):
    return seeds.draw(0, 0, *name, rows=torch.arange(rows))


def pipeline(**fields):
    spec = ViewSpec(size=SIZE, crops=2, stream="video", transform=Frames(**WHOLE, **fields))
    transform = spec.transform.build(SIZE, "")
    view = View(SIZE, 2, 1, (0.0,), (1.0,), type="clip", stream="video", axes=3, transform=transform)
    return Pipeline({"global": spec}, {"global": view}, seed=0)


def starts(crops):
    """`[V, B]`: the first frame of each clip, from crops in [0, 1]."""
    return (crops[:, :, 0, 0, 0, 0] * 255).round().long()


@given(
    rooms=st.lists(st.integers(1, 200), min_size=1, max_size=8),
    power=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_both_clips_begin_where_one_fits(rooms, power, seed):
    rooms = torch.tensor(rooms)
    shares = seeds.draw(seed, 0, "pairs", rows=torch.arange(len(rooms))).uniform(3)
    pair = paired_starts(shares, rooms, power)
    assert pair.shape == (len(rooms), 2)
    assert pair.min() >= 0
    assert (pair < rooms[:, None]).all()


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_distances_are_distributed_as_said(power):
    """P(distance <= k) = 1 - (1 - (k + 1) / M) ** (power + 1), CVRL's for power 1."""
    rooms = torch.full((20_000,), 40)
    pair = paired_starts(draws(20_000, "distances").uniform(3), rooms, power)
    distance = (pair[:, 0] - pair[:, 1]).abs()
    for k in (0, 5, 10, 20, 39):
        expected = 1 - (1 - (k + 1) / 40) ** (power + 1)
        assert abs((distance <= k).double().mean() - expected) < 0.015, k


def test_either_clip_may_be_the_earlier_one():
    pair = paired_starts(draws(4000, "order").uniform(3), torch.full((4000,), 50), 1.0)
    assert 0.45 < (pair[:, 0] < pair[:, 1]).double().mean() < 0.55


def test_the_largest_shares_stay_inside():
    shares = torch.full((3, 3), 1 - 2**-24)
    pair = paired_starts(shares, torch.tensor([1, 2, 1000]), 1.0)
    assert (pair < torch.tensor([[1], [2], [1000]])).all()
    assert not pair[0].any()


def test_crops_of_one_view_are_paired():
    """Distances of the crops of the pipeline, and not only of the rule, follow the density."""
    crops = pipeline(distance_power=8.0).crops([numbered(60)] * 400, 3, torch.arange(400))["global"]
    distance = (starts(crops)[0] - starts(crops)[1]).abs()
    independent = pipeline().crops([numbered(60)] * 400, 3, torch.arange(400))["global"]
    apart = (starts(independent)[0] - starts(independent)[1]).abs()
    assert distance.double().mean() < 8
    assert 14 < apart.double().mean() < 24


def test_a_pair_depends_on_its_own_row_and_step_only():
    paired = pipeline(distance_power=1.0)
    samples = [numbered(40), numbered(60), numbered(50)]
    together = paired.crops(samples, 5, torch.tensor([7, 8, 9]))["global"]
    alone = paired.crops(samples[1:2], 5, torch.tensor([8]))["global"]
    assert torch.equal(together[:, 1:2], alone)
    assert not torch.equal(paired.crops(samples, 6, torch.tensor([7, 8, 9]))["global"], together)


def test_workers_draw_the_same_pairs():
    paired = pipeline(distance_power=1.0)
    samples, rows = [numbered(40), numbered(60)], torch.tensor([3, 4])
    crops = paired.rest(paired.first(samples, 2, rows), 2, rows)["global"]
    assert torch.equal(crops, paired.crops(samples, 2, rows)["global"])


def test_videos_too_short_for_two_have_the_same_clip_twice():
    crops = pipeline(distance_power=1.0).crops([numbered(3)], 0, torch.tensor([0]))["global"]
    assert torch.equal(crops[0], crops[1])


@pytest.mark.parametrize(("step", "stride"), [(0, 1), (24, 1), (25, 2), (50, 3), (99, 4), (100, 5), (900, 5)])
def test_strides_grow_with_the_steps(step, stride):
    clips = Frames(**WHOLE, stride=5, grow_steps=100).build(SIZE, "")
    place = CropPlace(0, step, draws(1, "shared"))
    clip = clips.crop([numbered(60)], draws(1, "own"), place)
    assert clip[0, 0, :, 0, 0].int().diff().tolist() == [stride] * 3


@pytest.mark.parametrize("sampling", ["span", "motion"])
def test_other_rules_span_more_with_the_steps(sampling):
    clips = Frames(**WHOLE, sampling=sampling, stride=6, grow_steps=10).build(SIZE, "")
    spans = []
    for step in (0, 5, 10):
        clip = clips.crop([numbered(60)], draws(1, "own"), CropPlace(0, step, draws(1, "shared")))
        spans.append(int(clip[0, 0, -1, 0, 0]) - int(clip[0, 0, 0, 0, 0]))
    assert spans[0] < spans[1] < spans[2]
    assert spans[0] == 3


def test_evaluation_has_the_whole_span():
    clips = Frames(**WHOLE, stride=5, grow_steps=100).build(SIZE, "")
    clip = clips.fixed([numbered(60)], draws(1, "fixed"))
    assert clip[0, 0, :, 0, 0].int().diff().tolist() == [5, 5, 5]


def spec(**change):
    transform = {"kind": "frames", **change.pop("transform")}
    return {
        "name": "pairs",
        "data": {"kind": "moving_digits", "videos": 8, "test_videos": 8, "frames": 8, "size": 16, "digit": 8},
        "views": {"global": {"size": [4, 16, 16], "transform": transform, **change}},
        "backbone": {"kind": "video_vit", "patch": 8, "width": 24, "depth": 1, "heads": 2},
        "objective": {"kind": "videomae"},
        "batch_size": 8,
        "steps": 1,
    }


def test_distances_are_of_two_crops():
    with pytest.raises(SpecError, match=r"distance_power.*set `views\.global\.crops: 2`"):
        parse(spec(transform={"distance_power": 1.0}))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"sampling": "segments", "grow_steps": 5}, "grow_steps"),
        ({"sampling": "segments", "distance_power": 1.0}, "distance_power"),
        ({"grow_steps": 5}, "`stride: 1`"),
    ],
)
def test_fields_without_effect_are_told(transform, message):
    with pytest.raises(SpecError, match=message):
        parse(spec(transform=transform, crops=2))
