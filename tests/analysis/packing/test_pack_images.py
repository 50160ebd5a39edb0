"""Packs: whole, killed, resumed, refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tarfile
import time

import pytest

from sslkit.analysis.image_data.data_fields import load_fields
from sslkit.analysis.packing import pack_images as packing
from sslkit.analysis.packing.pack_images import Size, pack_images
from sslkit.analysis.packing.pack_record import JOURNAL, MANIFEST, PackRecord
from sslkit.errors import CheckpointError, DataError, Interrupted, SslkitWarning
from tests.analysis.image_data.samples import arrays, save
from tests.distributed.forked import sslkit, started

COUNT = 20
SIZE = Size(images=3)


@pytest.fixture
def images(tmp_path):
    save(tmp_path / "images", arrays(COUNT))
    return tmp_path / "images"


def fields(folder, *assignments):
    return load_fields(folder, ["workers=2", *assignments])


def contents(folder):
    """Digest of each file that a pack leaves behind."""
    names = sorted(path for path in folder.iterdir() if path.name != ".owner")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in names}


def members(path):
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def test_shards_hold_files_labels_and_names(images, tmp_path):
    packed = pack_images(fields(images), tmp_path / "out", SIZE, shuffled=False)
    assert (packed.images, len(packed.shards), packed.resumed, packed.channels) == (COUNT, 7, 0, 3)
    source = fields(images).data.build("train")
    first = members(tmp_path / "out" / "train-000001.tar")
    assert list(first)[:3] == ["000000003.png", "000000003.cls", "000000003.json"]
    assert first["000000003.png"] == (images / source.name(3)).read_bytes()
    assert int(first["000000003.cls"]) == source.labels[3]
    assert json.loads(first["000000003.json"]) == {"class": "class0", "name": source.name(3)}
    assert (tmp_path / "out" / "classes.txt").read_text() == "class0\nclass1\n"


def test_the_record_has_the_checksum_of_each_shard(images, tmp_path):
    out = tmp_path / "out"
    pack_images(fields(images), out, SIZE)
    record = json.loads((out / MANIFEST).read_text())
    assert (record["format"], record["images"], record["order"], record["seed"]) == (
        1,
        {"train": COUNT},
        "shuffled",
        0,
    )
    for shard in record["shards"]:
        content = (out / shard["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert sum(shard["images"] for shard in record["shards"]) == COUNT
    assert not (out / JOURNAL).exists()


@pytest.mark.parametrize("workers", [0, 1, 5])
def test_threads_change_nothing(images, tmp_path, workers):
    pack_images(fields(images), tmp_path / "one", SIZE)
    pack_images(fields(images, f"workers={workers}"), tmp_path / "two", SIZE)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_shards_of_about_so_many_bytes(images, tmp_path):
    packed = pack_images(fields(images), tmp_path / "out", Size(bytes=20_000))
    sizes = [shard.bytes for shard in packed.shards]
    assert len(sizes) > 1
    assert all(size < 30_000 for size in sizes)


def test_a_pack_that_failed_goes_on_with_what_is_missing(images, tmp_path, monkeypatch):
    pack_images(fields(images), tmp_path / "whole", SIZE)
    out, write, seen = tmp_path / "cut", packing.write_shard, []

    def fail(folder, shard, source, tick):
        if shard.name.endswith("04.tar"):
            raise OSError("as a kill would")
        seen.append(shard.name)
        return write(folder, shard, source, tick)

    monkeypatch.setattr(packing, "write_shard", fail)
    with pytest.raises(OSError, match="as a kill would"):
        pack_images(fields(images, "workers=1"), out, SIZE)
    monkeypatch.setattr(packing, "write_shard", write)
    assert (out / JOURNAL).exists()
    assert not (out / MANIFEST).exists()
    packed = pack_images(fields(images), out, SIZE)
    assert packed.resumed == len(seen) >= 4, "what was written beside the fault is not lost"
    assert contents(out) == contents(tmp_path / "whole")


def test_a_finished_pack_is_not_written_again_but_for_what_was_lost(images, tmp_path):
    out = tmp_path / "out"
    pack_images(fields(images), out, SIZE)
    before = contents(out)
    assert pack_images(fields(images), out, SIZE).resumed == 7
    (out / "train-000002.tar").unlink()
    (out / "train-000005.tar").write_bytes(b"cut")
    assert pack_images(fields(images), out, SIZE).resumed == 5
    assert contents(out) == before


def test_a_line_of_the_journal_that_a_kill_cut_off_is_passed_over(images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(PackRecord, "finish", lambda *_: None)
    pack_images(fields(images), out, SIZE)
    monkeypatch.undo()
    journal = out / JOURNAL
    journal.write_text(journal.read_text()[:-30])
    assert pack_images(fields(images), out, SIZE).resumed == 6


@pytest.mark.parametrize(
    ("assignments", "size", "shuffled", "differs"),
    [
        (["seed=1"], SIZE, True, "seed"),
        ([], Size(images=4), True, "shard_images"),
        ([], SIZE, False, "order"),
    ],
)
def test_another_pack_in_the_folder_is_refused(images, tmp_path, assignments, size, shuffled, differs):
    pack_images(fields(images), tmp_path / "out", SIZE)
    with pytest.raises(CheckpointError, match=f"holds another pack \\(by {differs}\\); name another folder"):
        pack_images(fields(images, *assignments), tmp_path / "out", size, shuffled)


def test_other_images_are_another_pack(images, tmp_path):
    pack_images(fields(images), tmp_path / "out", SIZE)
    name = next(images.rglob("*.png"))
    name.write_bytes(next(path for path in images.rglob("*.png") if path != name).read_bytes())
    with pytest.raises(CheckpointError, match="by fingerprints"):
        pack_images(fields(images), tmp_path / "out", SIZE)


def test_shards_of_somebody_else_are_not_written_over(images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train-000000.tar").write_bytes(b"mine")
    with pytest.raises(
        CheckpointError, match=r"train-000000\.tar: was written by no pack; name an empty folder"
    ):
        pack_images(fields(images), tmp_path / "out", SIZE)
    assert (tmp_path / "out" / "train-000000.tar").read_bytes() == b"mine"


def test_images_that_cannot_be_read_are_left_out_and_listed(images, tmp_path, monkeypatch):
    from sslkit_sources.folder import FolderSource

    read = FolderSource.encoded

    def encoded(self, index):
        if index == 5:
            raise DataError("a disk that fails")
        return read(self, index)

    monkeypatch.setattr(FolderSource, "encoded", encoded)
    with pytest.raises(
        DataError, match=r"1 of 20 images cannot be read, more than max_corrupt=0\.01; .*a disk that"
    ):
        pack_images(fields(images), tmp_path / "out", SIZE)
    packed = pack_images(fields(images, "max_corrupt=0.1"), tmp_path / "out", SIZE)
    assert (packed.images, packed.resumed) == (COUNT - 1, 7)
    record = json.loads((tmp_path / "out" / MANIFEST).read_text())
    (lost,) = [lost for shard in record["shards"] for lost in shard["left_out"]]
    assert lost["reason"] == "a disk that fails"


def test_a_signal_leaves_whole_shards_and_says_how_to_go_on(images, tmp_path, monkeypatch):
    out, write = tmp_path / "out", packing.write_shard

    def slow(folder, shard, source, tick):
        if shard.name.endswith("02.tar"):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(600):
                time.sleep(0.05)
                tick()
        return write(folder, shard, source, tick)

    monkeypatch.setattr(packing, "write_shard", slow)
    with pytest.raises(Interrupted, match="stopped by SIGTERM; the same command goes on from"):
        pack_images(fields(images, "workers=1"), out, SIZE)
    monkeypatch.setattr(packing, "write_shard", write)
    assert pack_images(fields(images), out, SIZE).resumed == 2
    assert not list(out.glob(".*.tmp"))


def test_masks_are_told_not_to_be_packed(tmp_path):
    import numpy as np
    from PIL import Image

    for name, shape in (("images", (8, 8, 3)), ("masks", (8, 8))):
        (tmp_path / "s" / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full(shape, i, np.uint8)).save(tmp_path / "s" / name / f"{i}.png")
    path = tmp_path / "spec.yaml"
    path.write_text(f"data: {{kind: segmentation, root: {tmp_path / 's'}, regions: 2}}\n")
    with pytest.warns(SslkitWarning, match="the masks of the train images are not packed"):
        assert pack_images(load_fields(path), tmp_path / "out", SIZE).images == 2


@pytest.mark.slow
def test_a_pack_that_is_killed_twice_is_as_one_that_was_not(tmp_path):
    images = tmp_path / "images"
    save(images, arrays(600))
    pack_images(fields(images), tmp_path / "whole", SIZE)
    out, words = (
        tmp_path / "cut",
        ("data", "pack", images, tmp_path / "cut", "--shard-images", "3", "workers=2"),
    )
    for least in (20, 90):
        process = started(sslkit, *words, output=tmp_path / "printed")
        deadline = time.monotonic() + 200
        while len(list(out.glob("*.tar"))) < least:
            assert time.monotonic() < deadline, (tmp_path / "printed").read_text()
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert not (out / MANIFEST).exists()
    packed = pack_images(fields(images), out, SIZE)
    assert packed.resumed >= 85
    assert contents(out) == contents(tmp_path / "whole")
