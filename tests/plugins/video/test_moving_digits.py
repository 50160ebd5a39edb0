"""Digits that move: what is drawn is what the labels say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit import Digits
from sslkit_video.moving_digits import DIRECTIONS, SPEEDS, TURNS, bounced
from sslkit_video.specs.sources import MovingDigits

SMALL = {"videos": 200, "test_videos": 50, "frames": 9, "size": 40, "digit": 12, "turn": 0.0}


@pytest.fixture(scope="module")
def source():
    return MovingDigits(**SMALL).build("train")


def centers(videos):
    """`[N, T, 2]` column and row of the middle of what is bright."""
    weight = videos[:, 0].double()
    total = weight.sum((-1, -2))
    places = torch.arange(videos.shape[-1], dtype=torch.float64)
    return (
        torch.stack([(weight.sum(-2) * places).sum(-1), (weight.sum(-1) * places).sum(-1)], -1)
        / total[..., None]
    )


def test_digits_move_as_their_labels_say(source):
    """In the three middle frames, of videos that do not bounce there."""
    path = centers(source.resident())[:, 3:6]
    steps = path.diff(dim=1)
    even = (steps[:, 0] - steps[:, 1]).norm(dim=-1) < 0.05
    assert even.sum() > 120
    heading = torch.atan2(steps[:, 0, 1], steps[:, 0, 0]) % (2 * math.pi)
    expected = source.attributes["direction"] * (2 * math.pi / 8)
    away = (heading - expected + math.pi) % (2 * math.pi) - math.pi
    assert away[even].abs().max() < 0.2
    speeds = torch.tensor(source.shape.speeds)[source.attributes["speed"]]
    assert (steps[:, 0].norm(dim=-1) - speeds)[even].abs().max() < 0.1


def test_digits_stay_inside(source):
    videos = source.resident()
    edges = torch.cat([videos[..., 0, :].flatten(1), videos[..., -1, :].flatten(1)], 1)
    assert videos.amax((1, 2, 3, 4)).min() > 200
    assert edges.float().mean() < 8


def test_turning_digits_turn():
    still, turning = (MovingDigits(**{**SMALL, "turn": turn}).build("test") for turn in (0.0, 8.0))
    turns = turning.attributes["turning"] != TURNS.index("none")
    change = (turning.resident().int() - still.resident().int()).abs().float().mean((1, 2, 3, 4))
    assert change[~turns].max() == 0
    assert change[turns].min() > 0.5


@given(place=st.floats(-500, 500), room=st.floats(1, 50))
def test_bouncing_is_a_mirror(place, room):
    at = bounced(torch.tensor(place, dtype=torch.float64), room)
    assert -1e-9 <= at <= room + 1e-9
    again = bounced(torch.tensor(-place, dtype=torch.float64), room)
    assert abs(at - again) < 1e-6


def test_one_video_is_that_of_all(source):
    whole = source.resident()
    for index in (0, 17, 199):
        assert (
            source.load(index).int() - whole[index].int()
        ).abs().max() <= 1  # of another batch of the sampler


def test_a_video_does_not_depend_on_how_many_there_are():
    few, many = (MovingDigits(**{**SMALL, "videos": count}).build("train") for count in (5, 200))
    assert torch.equal(few.labels, many.labels[:5])
    assert (few.digests() == many.digests()[:5]).all()


def test_digits_of_the_test_are_not_in_the_training(source):
    test = MovingDigits(**SMALL).build("test")
    train = {image.numpy().tobytes() for image in source.digits}
    assert not any(image.numpy().tobytes() in train for image in test.digits)
    images = sum(len(Digits().build(split)) for split in ("train", "test"))
    assert len(source.digits) + len(test.digits) == images


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"frames": 8}, {"turn": 1.0}, {"digit": 11}, {"videos": 199}]
)
def test_the_fingerprint_tells_other_videos(source, change):
    assert MovingDigits(**{**SMALL, **change}).build("train").fingerprint != source.fingerprint
    assert MovingDigits(**SMALL).build("train").fingerprint == source.fingerprint


def test_labels_and_attributes_have_all_values(source):
    assert source.labels.unique().tolist() == list(range(10))
    for name, values in (("direction", DIRECTIONS), ("speed", SPEEDS), ("turning", TURNS)):
        assert source.attributes[name].unique().tolist() == list(range(len(values)))
        assert source.attribute_values[name] == values
    assert source.name(3) == "moving digits, train video 3"
