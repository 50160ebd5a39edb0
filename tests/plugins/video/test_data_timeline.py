"""When frames are shown, and which of them clips have: what holds of all."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslkit_video.timeline import Timeline, clips_of

HUNDREDTHS = Fraction(1, 100)


@given(
    frames=st.integers(1, 300),
    length=st.none() | st.integers(1, 80),
    every=st.none() | st.integers(1, 80),
)
def test_clips_cover_what_they_can(frames, length, every):
    clips = list(clips_of(frames, length, every))
    assert all(0 <= first < first + count <= frames for first, count in clips)
    assert all(count == min(frames, length or frames) for _, count in clips)
    assert clips[-1][0] + clips[-1][1] == frames
    if length is not None and (every or length) <= length:
        assert {i for first, count in clips for i in range(first, first + count)} == set(range(frames))


def test_clips_are_as_far_apart_as_said():
    assert list(clips_of(10, 4, None)) == [(0, 4), (4, 4), (6, 4)]
    assert list(clips_of(8, 4, 2)) == [(0, 4), (2, 4), (4, 4)]
    assert list(clips_of(3, 4, None)) == [(0, 3)]


def test_equal_steps_take_no_memory():
    assert Timeline.of([8, 0, 4], HUNDREDTHS).times == range(0, 12, 4)
    assert Timeline.of([5], HUNDREDTHS).times == range(5, 6)
    assert Timeline.of([0, 4, 9], HUNDREDTHS).times.tolist() == [0, 4, 9]


def test_a_frame_is_shown_until_the_next_one():
    """A screen recording: four frames at once, and nothing for half a second."""
    timeline = Timeline.of([0, 2, 4, 6, 56], HUNDREDTHS)
    assert timeline.resampled(10.0).tolist() == [0, 3, 3, 3, 3, 3]
    assert timeline.resampled(50.0).tolist() == [0, 1, 2, *[3] * 25, 4]
    assert list(timeline.resampled(None)) == [0, 1, 2, 3, 4]


def test_the_rate_that_a_video_has_leaves_it_as_it_is():
    thirty = Timeline.of([round(i * 1000 / 30) for i in range(90)], Fraction(1, 1000))
    assert thirty.resampled(10.0).tolist() == list(range(0, 90, 3))
    even = Timeline.of(range(7, 507, 5), HUNDREDTHS)
    assert even.resampled(20.0).tolist() == list(range(100))


@pytest.mark.parametrize("rate", [None, 25.0])
def test_frames_without_time_stamps_are_counted(rate):
    assert list(Timeline(range(4)).resampled(rate)) == [0, 1, 2, 3]
    assert list(Timeline(range(0)).resampled(rate)) == []


@given(
    gaps=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    start=st.integers(-100, 100),
    rate=st.floats(0.5, 60),
)
def test_moments_show_the_last_frame_before_them(gaps, start, rate):
    times = start + np.concatenate([[0], np.cumsum(gaps)])
    numbers = Timeline.of(times.tolist(), HUNDREDTHS).resampled(rate)
    moments = times[0] + np.arange(len(numbers)) * (100 / rate)
    assert (np.diff(numbers) >= 0).all()
    assert (times[numbers] <= moments + 0.01).all()
    later = numbers + 1 < len(times)
    assert (times[numbers[later] + 1] > moments[later] - 0.01).all()
    assert moments[-1] <= times[-1] + 0.01 < moments[-1] + 100 / rate + 0.02
