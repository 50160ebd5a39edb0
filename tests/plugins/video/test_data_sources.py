"""Sources of videos in files: splits, classes, clips, fingerprints, and files that cannot be read."""

from __future__ import annotations

import pickle

import pytest
import torch
from PIL import Image

from sslkit.plugin import DataError, SslkitWarning
from sslkit_video.specs.files import FrameFolders, VideoFolder
from tests.plugins.video.video_files import numbers_of, picture, write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name, frames in (("run/a.mp4", 20), ("run/b.mp4", 6), ("walk/deep/c.mkv", 8), ("walk/d.mp4", 8)):
        write_video(root / name, frames)
    (root / "walk" / "notes.txt").write_text("no video")
    return root


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    for name, count in (("run/a", 12), ("walk/b", 3)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(picture(number, 16, 24)).save(root / name / f"frame_{number}.png")
    return root


def test_long_files_are_several_clips(videos):
    source = VideoFolder(root=videos, clip=8).build("train")
    names = [source.name(i) for i in range(len(source))]
    assert names[:4] == [
        "run/a.mp4 frames 0 to 7",
        "run/a.mp4 frames 8 to 15",
        "run/a.mp4 frames 12 to 19",
        "run/b.mp4 frames 0 to 5",
    ]
    assert [numbers_of(source.load(i)) for i in (1, 3)] == [list(range(8, 16)), list(range(6))]
    assert source.classes == ("run", "walk")
    assert source.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert source.load(0).dtype == torch.uint8


def test_whole_files_are_one_sample_each(videos):
    source = VideoFolder(root=videos, clip=None).build("train")
    assert [source.name(i) for i in range(len(source))] == [
        "run/a.mp4",
        "run/b.mp4",
        "walk/d.mp4",
        "walk/deep/c.mkv",
    ]
    assert numbers_of(source.load(0)) == list(range(20))


def test_recordings_of_a_varying_rate_are_evened_by_their_times(tmp_path):
    write_video(tmp_path / "screen.mkv", 5, times=[0, 4, 8, 12, 52])
    source = VideoFolder(root=tmp_path, rate=25, clip=None).build("train")
    assert numbers_of(source.load(0)) == [0, 1, 2, *[3] * 10, 4]
    stored = VideoFolder(root=tmp_path, clip=None).build("train")
    assert numbers_of(stored.load(0)) == [0, 1, 2, 3, 4]
    assert stored.fingerprint != source.fingerprint


def test_a_listing_has_labels_splits_and_attributes(videos, tmp_path):
    listing = tmp_path / "videos.csv"
    listing.write_text(
        "path,label,split,camera\nrun/a.mp4,fast,train,one\nrun/b.mp4,fast,test,two\nwalk/d.mp4,slow,train,one\n"
    )
    spec = VideoFolder(root=videos, listing=listing, clip=10)
    train, test = spec.build("train"), spec.build("test")
    assert (len(train), train.labels.tolist()) == (3, [0, 0, 1])
    assert (len(test), test.labels.tolist(), test.classes) == (1, [0], ("fast", "slow"))
    assert train.attributes["camera"].tolist() == [0, 0, 0]


def test_clips_of_a_file_are_in_one_split(videos):
    spec = VideoFolder(root=videos, clip=2, split={"test": 0.5, "seed": 1})
    train, test = spec.build("train"), spec.build("test")
    of_file = [{s.name(i).split(" ")[0] for i in range(len(s))} for s in (train, test)]
    assert not of_file[0] & of_file[1]
    assert len(of_file[0] | of_file[1]) == 4


def test_test_videos_have_the_classes_of_the_training(videos):
    source = VideoFolder(root=videos, test=videos, clip=None).build("test")
    assert source.classes == ("run", "walk")
    assert VideoFolder(root=videos).build("test") is None


def test_files_that_cannot_be_read_are_told_when_it_is_their_turn(tmp_path):
    write_video(tmp_path / "a.mp4", 4)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    source = VideoFolder(root=tmp_path).build("train")
    assert len(source) == 2
    assert source.load(0).shape == (3, 4, 32, 48)
    with pytest.raises(DataError, match=r"b\.mp4: cannot be read as a video"):
        source.load(1)
    assert source.digests()[0].any()
    assert not source.digests()[1].any()


def test_where_nothing_can_be_read_the_first_fault_is_told(tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"b\.mp4: cannot be read as a video"):
        VideoFolder(root=tmp_path).build("train")


def test_files_that_end_early_are_counted(tmp_path):
    path = write_video(tmp_path / "a.mp4", options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.warns(SslkitWarning, match=r"a\.mp4: its last \d+ of 24 frames are missing.*1 of 1 files"):
        source = VideoFolder(root=tmp_path).build("train")
    assert numbers_of(source.load(0)) == list(range(source.load(0).shape[1]))


def test_the_fingerprint_is_of_the_content(videos, tmp_path):
    source = VideoFolder(root=videos, clip=8).build("train")
    for name in ("run/a.mp4", "run/b.mp4", "walk/deep/c.mkv", "walk/d.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((videos / name).read_bytes())
    assert VideoFolder(root=tmp_path, clip=8).build("train").fingerprint == source.fingerprint
    for change in ({"clip": 4}, {"clip": 8, "short_side": 16}, {"clip": 8, "rate": 5.0}):
        assert VideoFolder(root=tmp_path, **change).build("train").fingerprint != source.fingerprint, change


def test_workers_get_it_as_it_is(videos):
    source = VideoFolder(root=videos, clip=8).build("train")
    again = pickle.loads(pickle.dumps(source))
    assert torch.equal(again.load(2), source.load(2))


def test_frames_of_a_folder_are_a_video(frames):
    source = FrameFolders(root=frames, clip=8).build("train")
    assert [source.name(i) for i in range(3)] == [
        "run/a frames 0 to 7",
        "run/a frames 4 to 11",
        "walk/b frames 0 to 2",
    ]
    assert numbers_of(source.load(1)) == list(range(4, 12))
    assert source.labels.tolist() == [0, 0, 1]
    assert source.load(0).shape == (3, 8, 16, 24)


def test_frames_that_differ_are_told(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    for number, side in enumerate((16, 16, 20)):
        Image.fromarray(picture(number, side, 24)).save(folder / f"{number}.png")
    source = FrameFolders(root=tmp_path).build("train")
    with pytest.raises(DataError, match=r"2\.png: is 24 x 20 .* unlike 0\.png, which is 24 x 16"):
        source.load(0)


def test_a_change_of_one_frame_is_a_change(frames, tmp_path):
    before = FrameFolders(root=frames, clip=None).build("train").digests()
    for file in sorted(frames.rglob("*.png")):
        target = tmp_path / file.relative_to(frames)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    Image.fromarray(picture(9, 16, 24)).save(tmp_path / "run" / "a" / "frame_3.png")
    after = FrameFolders(root=tmp_path, clip=None).build("train").digests()
    assert (before != after).any(axis=1).tolist() == [True, False]


@pytest.mark.parametrize("kind", [VideoFolder, FrameFolders])
def test_an_empty_folder_is_told(tmp_path, kind):
    with pytest.raises(DataError, match="holds no"):
        kind(root=tmp_path).build("train")


def test_folders_that_are_no_classes_are_told(videos, tmp_path):
    for name in ("train/a.mp4", "test/b.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes((videos / "run" / "b.mp4").read_bytes())
    with pytest.raises(DataError, match="the folder 'test' is a split, not a class"):
        VideoFolder(root=tmp_path).build("train")
    (tmp_path / "loose.mp4").write_bytes((videos / "run" / "b.mp4").read_bytes())
    with pytest.raises(DataError, match=r"'loose.mp4' lies beside class folders"):
        VideoFolder(root=tmp_path).build("train")
    assert len(VideoFolder(root=tmp_path, label_folders=False).build("train")) == 3
