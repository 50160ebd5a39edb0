"""Which frames clips have: SlowFast's and VideoMAE's rules as they were recorded, and what holds of all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit_video.frame_numbers import by_motion, random_start, segmented, spanned, strided


@pytest.mark.parametrize("row", range(8))
def test_spans_are_those_of_slowfast(golden, row):
    """facebookresearch/SlowFast@287ec0076846:slowfast/datasets/decoder.py temporal_sampling."""
    arrays = golden("video_frame_sampling")
    length, frames, _, _, _, _, _, clip, start, _ = arrays["slowfast_rows"][row].tolist()
    numbers = spanned(torch.tensor([start]), clip, torch.tensor([int(length)]), int(frames))[0]
    assert numbers.tolist() == arrays["slowfast_idx"][row, : int(frames)].tolist()


@pytest.mark.parametrize("row", range(4))
def test_strides_are_those_of_videomae(golden, row):
    """MCG-NJU/VideoMAE@14ef8d856287:kinetics.py _sample_train_indices, for the start that it drew."""
    arrays = golden("video_frame_sampling")
    length, frames, stride = arrays["videomae_rows"][row, :3].tolist()
    expected = arrays["videomae_idx"][row, :frames]
    numbers = strided(expected[:1], torch.tensor([length]), frames, stride)[0]
    assert numbers.tolist() == expected.tolist()


def test_steps_reach_the_last_frame(golden):
    """VideoMAE's do not, as it counts from 1 in one place: of 5 frames with stride 4 it has frame 0 only."""
    arrays = golden("video_frame_sampling")
    length, frames, stride = arrays["videomae_rows"][4, :3].tolist()
    assert not arrays["videomae_idx"][4, :frames].any()
    assert strided(torch.tensor([0]), torch.tensor([length]), frames, stride)[0].tolist() == [0, *[4] * 15]


@pytest.mark.parametrize("row", range(4))
def test_starts_reach_as_far_as_those_of_videomae(golden, row):
    length, frames, stride, _, _, _, largest, *_ = golden("video_frame_sampling")["videomae_rows"][
        row
    ].tolist()
    shares = torch.tensor([0.0, 0.5, 1 - 2**-24])
    starts = random_start(shares, torch.full((3,), length), frames * stride)
    assert starts[0] == 0
    assert starts[-1] == largest


LENGTHS = st.integers(1, 80)


@given(length=LENGTHS, frames=st.integers(1, 20), stride=st.integers(1, 9), share=st.floats(0, 0.999))
def test_every_rule_gives_frames_of_the_video_in_order(length, frames, stride, share):
    lengths = torch.tensor([length])
    start = random_start(torch.tensor([share]), lengths, frames * stride)
    places = torch.full((1, frames), share)
    rules = {
        "stride": strided(start, lengths, frames, stride),
        "span": spanned(start, stride * frames, lengths, frames),
        "segments": segmented(places, lengths),
    }
    for name, numbers in rules.items():
        assert numbers.shape == (1, frames), name
        assert numbers.min() >= 0, name
        assert numbers.max() < length, name
        assert (numbers.diff(dim=1) >= 0).all(), name


def test_a_video_longer_than_the_span_repeats_no_frame():
    numbers = strided(torch.tensor([3]), torch.tensor([40]), 8, 4)
    assert numbers.tolist() == [[3, 7, 11, 15, 19, 23, 27, 31]]


def test_each_segment_gives_one_frame():
    numbers = segmented(torch.tensor([[0.0, 0.5, 0.99]]), torch.tensor([30]))
    assert numbers.tolist() == [[0, 15, 29]]


def test_more_frames_where_more_changes():
    change = torch.zeros(20)
    change[14:] = 1.0
    numbers = by_motion(change, 8)
    assert numbers[0] == 0
    assert numbers[-1] == 20
    assert (numbers >= 14).sum() >= 5


def test_where_nothing_changes_steps_are_equal():
    assert by_motion(torch.zeros(8), 5).tolist() == [0, 2, 4, 6, 8]


@given(changes=st.lists(st.floats(0, 10), min_size=1, max_size=30), frames=st.integers(1, 12))
def test_frames_by_motion_lie_in_the_video_in_order(changes, frames):
    numbers = by_motion(torch.tensor(changes), frames)
    assert numbers.shape == (frames,)
    assert 0 <= int(numbers.min()) <= int(numbers.max()) <= len(changes)
    assert (numbers.diff() >= 0).all()
