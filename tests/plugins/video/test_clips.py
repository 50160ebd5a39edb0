"""Clips of videos: one box and one flip for all frames, the middle for evaluation."""

from __future__ import annotations

import pytest
import torch

from sslkit import Run
from sslkit.core.random_stream import Draw
from sslkit.data.fixed_crops import fixed_crops
from sslkit.errors import SpecError
from sslkit.plugin import View
from sslkit_video.specs.frames import Frames

WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}


def draw(count, first=0):
    return Draw(7, torch.arange(first, first + count))


def video(length=12, side=8, channels=3, seed=0):
    values = torch.randint(
        0, 256, (channels, length, side, side), generator=torch.Generator().manual_seed(seed)
    )
    return values.to(torch.uint8)


def numbered(length=12, side=8):
    """Frame i is of the gray i."""
    return torch.arange(length, dtype=torch.uint8)[None, :, None, None].expand(1, -1, side, side).clone()


@pytest.mark.parametrize("sampling", ["stride", "span", "segments", "motion"])
def test_clips_have_the_size_of_the_view(sampling):
    clips = Frames(sampling=sampling).build((4, 6, 10), "")([video(), video(9, 16)], draw(2))
    assert clips.shape == (2, 3, 4, 6, 10)
    assert clips.dtype == torch.uint8


def test_whole_frames_are_the_frames():
    sample = video()
    clips = Frames(**WHOLE).build((12, 8, 8), "")([sample], draw(1))
    assert torch.equal(clips[0], sample)


def test_all_frames_share_one_box_and_one_flip():
    """Of a video whose frames are all alike, the frames of the clip are alike."""
    sample = video(1, 16).expand(-1, 12, -1, -1).contiguous()
    clips = Frames(scale=(0.3, 0.5)).build((5, 8, 8), "")([sample] * 4, draw(4))
    assert all(torch.equal(clips[:, :, 0], clips[:, :, i]) for i in range(5))
    assert len({clip.numpy().tobytes() for clip in clips}) == 4


def test_flips_come_as_often_as_said():
    sample = torch.zeros(1, 2, 4, 4, dtype=torch.uint8)
    sample[..., 0] = 255
    clips = Frames(**{**WHOLE, "flip": 0.25}).build((2, 4, 4), "")([sample] * 400, draw(400))
    assert 0.18 < (clips[:, 0, 0, 0, -1] == 255).float().mean() < 0.32


@pytest.mark.parametrize("sampling", ["stride", "span", "segments", "motion"])
def test_a_clip_depends_on_its_own_row_and_video_only(sampling):
    clip = Frames(sampling=sampling).build((4, 8, 8), "")
    together = clip([video(seed=i) for i in range(4)], draw(4))
    for i in range(4):
        alone = clip([video(seed=i)], draw(1, first=i))
        assert torch.equal(alone[0], together[i])


def test_a_short_video_ends_with_its_last_frame_again():
    clips = Frames(**WHOLE, stride=2).build((4, 8, 8), "")([numbered(3)], draw(1))
    assert clips[0, 0, :, 0, 0].tolist() == [0, 2, 2, 2]


def test_evaluation_takes_the_middle():
    view = View((4, 8, 8), 1, 1, (0.0,), (1.0,), type="clip", stream="video", axes=3,
                transform=Frames(stride=2, scale=(0.1, 0.2)).build((4, 8, 8), ""))  # fmt: skip
    crops = fixed_crops([numbered(20), numbered(20)], view)
    assert crops[:, 0, :, 0, 0].tolist() == [[6, 8, 10, 12]] * 2


def test_floats_stay_floats():
    sample = video().float() / 255
    clips = Frames().build((4, 8, 8), "")([sample], draw(1))
    assert clips.dtype == torch.float32
    assert 0 <= clips.min() <= clips.max() <= 1


def test_bytes_beside_floats_become_floats():
    clips = Frames().build((4, 8, 8), "")([video(), video().float() / 255], draw(2))
    assert clips.dtype == torch.float32


def run(tmp_path, size):
    return Run(
        name="clips",
        out=tmp_path,
        data={"kind": "moving_digits", "videos": 8, "test_videos": 8, "frames": 4, "size": 16, "digit": 8},
        views={
            "global": {
                "size": size,
                "transform": {"kind": "frames"},
                "normalize": {"mean": [0.1], "std": [0.3]},
            }
        },
        backbone={"kind": "video_vit", "patch": 8, "width": 24, "depth": 1, "heads": 2},
        objective={"kind": "videomae"},
        batch_size=8,
        steps=1,
    )


def test_sizes_have_three_sides(tmp_path):
    with pytest.raises(SpecError, match=r"views\.global.*frames, height, width"):
        run(tmp_path, (16, 8))


def test_sizes_are_cut_in_cubelets(tmp_path):
    with pytest.raises(SpecError, match="3 frames cannot be cut in cubelets of 2"):
        run(tmp_path, (3, 16, 16)).fit()
