"""Embeddings in files: what is in them, in which order, and that work is continued where it was cut off."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import sslkit
from sslkit import Digits, Folder, SslkitError, embed, load_backbone, load_embeddings
from sslkit.core.passes import Request
from sslkit.errors import CheckpointError, DataError, Interrupted, InUseError, SpecError, StorageError
from sslkit.evaluate.embeddings import embed_images
from sslkit.evaluate.embeddings.partial_rows import ENDING
from sslkit.evaluate.export import export
from sslkit.runs.owner import owned
from tests import full_disk
from tests.evaluate.embeddings.subjects import BATCH, BROKEN, COUNT, labeled, trained

ENDINGS = ["parquet", "npy", "safetensors"]
KEPT = [i for i in range(COUNT) if i not in BROKEN]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tests must not change it."""
    return trained(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return labeled(tmp_path_factory.mktemp("whole") / "images")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return labeled(tmp_path_factory.mktemp("damaged") / "images", BROKEN)


@pytest.fixture
def take(run, root, tmp_path):
    """Embeds the folder of images by the run, on the CPU, in this process."""

    def call(name="e.npy", **options):
        fields = {"data": root, "out": tmp_path / name, "batch_size": BATCH, "workers": 0, "device": "cpu"}
        return embed(**{"what": run, **fields, **options})

    return call


def tokens_of(run, root, layers=(), wanted=tuple(range(COUNT))):
    """The answer of the network itself to the images, one batch at a time."""
    source, net = Folder(root=root, channels=1).build("train"), load_backbone(run)
    images = torch.stack([source.load(i) for i in wanted]).float() / 255
    with torch.no_grad():
        return net([Request(((images - 0.3) / 0.4)[None], None, "drop", layers)])[0]


def bytes_of(path):
    return {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_come_in_source_order_with_names_and_labels(take, run, root, ending):
    written = take(f"e.{ending}")
    there = load_embeddings(written.path)
    expected = tokens_of(run, root).cls[0].numpy()
    np.testing.assert_allclose(there.values, expected, atol=1e-6)
    assert there.values.dtype == np.float32
    assert there.indices.tolist() == list(range(COUNT))
    assert there.names[0].endswith(str(Path("cats") / "0000.png"))
    assert there.names == tuple(sorted(there.names))
    assert there.labels.tolist() == [0] * 11 + [1] * 11
    assert (there.about.classes, there.about.split, there.about.layer) == (("cats", "dogs"), "train", -1)
    assert there.about.weights_sha256 == embed_images.weights_sha256(load_backbone(run))
    assert there.about.unreadable == ()
    assert not written.path.with_name(written.path.name + ENDING).exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_unreadable_images_have_no_row_and_are_listed(take, run, damaged, ending):
    written = take(f"e.{ending}", data=damaged)
    there = load_embeddings(written.path)
    assert there.indices.tolist() == KEPT
    assert [one.place for one in there.about.unreadable] == list(BROKEN)
    assert all(one.name in one.reason for one in there.about.unreadable)
    assert there.labels.tolist() == [int(i >= 11) for i in KEPT]
    assert np.isfinite(there.values).all()
    expected = tokens_of(run, damaged, wanted=KEPT).cls[0].numpy()
    np.testing.assert_allclose(there.values, expected, atol=1e-6)


def test_where_no_image_can_be_read_the_first_reason_is_told(take, tmp_path):
    nothing = labeled(tmp_path / "nothing", tuple(range(COUNT)))
    with pytest.raises(DataError, match=r"none of the 22 images can be read; the first: .*0000\.png"):
        take(data=nothing)
    assert not (tmp_path / f"e.npy{ENDING}").exists(), "the images may be mended"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("layer", [0, -1])
def test_patch_tokens_of_a_layer_in_float16(take, run, root, ending, layer):
    there = load_embeddings(take(f"e.{ending}", tokens="patch", layer=layer, dtype="float16").path)
    tokens = tokens_of(run, root, () if layer == -1 else (layer,))
    expected = tokens.patch[0] if layer == -1 else tokens.layers[0][0][:, 1:]
    assert there.values.shape == (COUNT, 4, 16)
    assert there.values.dtype == np.float16
    np.testing.assert_allclose(there.values.astype(np.float32), expected.numpy(), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("layer", [0, 1, -2])
@pytest.mark.parametrize("tokens", ["class", "mean"])
def test_one_vector_of_a_layer(take, run, root, tokens, layer):
    there = load_embeddings(take(tokens=tokens, layer=layer).path)
    block = tokens_of(run, root, (layer,)).layers[0][0]
    expected = block[:, 0] if tokens == "class" else block[:, 1:].mean(1)
    np.testing.assert_allclose(there.values, expected.numpy(), atol=1e-6)


def test_files_are_plain_ones_of_their_formats(take):
    """As other packages read them."""
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    table = pq.read_table(take("e.parquet").path)
    assert table.column_names == ["index", "name", "label", "class", "embedding"]
    assert table["class"].to_pylist()[10:12] == ["cats", "dogs"]
    array = np.load(take("e.npy").path)
    tensors = load_file(take("e.safetensors").path)
    assert sorted(tensors) == ["embeddings", "indices", "labels", "names"]
    assert tensors["names"].tobytes().decode().split("\0") == table["name"].to_pylist()
    assert np.array_equal(array, tensors["embeddings"])
    assert np.array_equal(array, np.stack(table["embedding"].to_numpy()))


def test_images_without_labels(take, root):
    for ending in ENDINGS:
        there = load_embeddings(take(f"e.{ending}", data=root / "cats").path)
        assert there.labels is None
        assert len(there.values) == 11


def stopping(after):
    """Progress that ends the work once `after` images are done."""

    def progress(done, total):
        if done >= after:
            raise RuntimeError("cut off")

    return progress


@pytest.mark.parametrize("ending", ENDINGS)
def test_work_that_was_cut_off_is_continued_to_equal_bytes(take, damaged, ending):
    whole = take(f"whole.{ending}", data=damaged)
    with pytest.raises(RuntimeError, match="cut off"):
        take(f"e.{ending}", data=damaged, progress=stopping(3 * BATCH))
    seen = []
    rest = take(f"e.{ending}", data=damaged, progress=lambda done, total: seen.append((done, total)))
    assert rest.before == 3 * BATCH
    assert seen == [(4, 10), (8, 10), (10, 10)], "only what was left"
    names = {name.replace("whole", "e"): content for name, content in bytes_of(whole.path).items()}
    assert bytes_of(rest.path) == names


def test_a_signal_keeps_what_was_done(take, tmp_path):
    whole = take("whole.npy").path.read_bytes()

    def progress(done, total):
        if done == 2 * BATCH:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped by SIGTERM; the same command goes on from"):
        take(progress=progress)
    rest = take()
    assert rest.before == 2 * BATCH
    assert rest.path.read_bytes() == whole


def test_the_same_call_again_finds_all_done(take, monkeypatch):
    first = take()
    monkeypatch.setattr(embed_images, "outputs", None)
    again = take()
    assert (again.before, again.about) == (COUNT, first.about)


def test_half_of_other_embeddings_is_not_continued(take, run, tmp_path):
    with pytest.raises(RuntimeError):
        take(progress=stopping(1))
    with pytest.raises(
        CheckpointError, match=r'holds part of other embeddings \(dtype "float32" there, "float16" here\)'
    ):
        take(dtype="float16")
    moved = shutil.copytree(run, tmp_path / "moved")
    assert take(what=moved).before == BATCH, "a run may be moved"


@pytest.mark.parametrize("ending", ENDINGS)
def test_another_file_is_not_overwritten(take, tmp_path, ending):
    path = tmp_path / f"e.{ending}"
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match="is there already and stays as it is"):
        take(path.name)
    assert path.read_bytes() == b"something else"
    path.unlink()
    take(path.name)
    with pytest.raises(DataError, match=r"is there already, with other embeddings \(tokens"):
        take(path.name, tokens="mean")


def test_two_processes_do_not_share_a_file(take, tmp_path):
    with owned(tmp_path / f"e.npy{ENDING}", print), pytest.raises(InUseError, match="is writing it"):
        take()


def test_a_disk_with_too_little_space_is_told_before(take, disk):
    full_disk.fill(disk)
    with pytest.raises(StorageError, match=r"22 rows of 64 bytes need \d+ MiB, but its disk has 0 MiB free"):
        take(out=disk / "e.npy")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_disk_that_fills_up_costs_nothing_but_time(take, disk, ending):
    whole = take(f"whole.{ending}").path.read_bytes()

    def progress(done, total):
        if done == BATCH:
            full_disk.fill(disk)

    try:
        with pytest.raises(StorageError, match="could not be written: No space left on device"):
            take(out=disk / f"e.{ending}", progress=progress)
    finally:
        full_disk.free(disk)
    assert take(out=disk / f"e.{ending}").path.read_bytes() == whole


def test_embeddings_that_are_not_finite_are_refused(take, monkeypatch):
    monkeypatch.setattr(embed_images, "encoder_of", lambda *_: lambda x: x.flatten(1)[:, :3] * 0 + 1e6)
    with pytest.raises(DataError, match=r"0000\.png: its embedding is not finite: too large for float16"):
        take(dtype="float16")


def test_an_exported_file_gives_what_its_run_gives(take, run, tmp_path):
    export(run, tmp_path / "net.safetensors")
    one, two = take("one.npy"), take("two.npy", what=tmp_path / "net.safetensors")
    assert one.path.read_bytes() == two.path.read_bytes()
    assert two.about.what.endswith("net.safetensors")


def test_the_images_of_the_run_and_its_splits(take):
    whole = load_embeddings(take(data=None, batch_size=500, split="test").path)
    assert len(whole.values) == len(Digits().build("test"))
    assert whole.about.data["kind"] == "digits"


def test_a_network_of_timm_reads_images_as_timm_does(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (200, 180, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.png")
    there = load_embeddings(
        embed(
            "timm:test_vit", data=photos, out=tmp_path / "e.npy", checkpoint="none", workers=0, device="cpu"
        ).path
    )
    config = timm.get_pretrained_cfg("test_vit")
    assert (there.about.view.size, there.about.crop) == (config.input_size[-1], config.crop_pct)
    assert there.about.view.mean == config.mean
    assert there.values.shape == (3, 64)
    small = embed(
        "timm:test_vit", data=photos, out=tmp_path / "s.npy", checkpoint="none", size=64, tokens="patch",
        device="cpu", workers=0,
    )  # fmt: skip
    assert small.about.shape == (16, 64)


REFUSED = [
    ({"what": "nowhere"}, SpecError, "nowhere: no such run folder or exported file; a network of timm is"),
    ({"what": "timm:nothing_like_it"}, SpecError, "has no model 'nothing_like_it'"),
    ({"out": "e.txt"}, SpecError, "must be a file that ends in .parquet, .npy or .safetensors"),
    ({"data": "nowhere"}, SpecError, "nowhere: no such folder of images or spec"),
    ({"data": Folder(root=".", channels=3)}, DataError, "have 3 channels but the network reads 1"),
    ({"data": Digits(), "layer": 7}, SpecError, "layer: 7 does not exist; the backbone has 2 blocks"),
    ({"split": "test"}, DataError, "the test split of 'folder' does not exist; name another `split`"),
    ({"checkpoint": "best"}, CheckpointError, "no best checkpoint"),
    ({"size": 7}, SslkitError, "7"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error", "message"), REFUSED, ids=[next(iter(one)) for one, *_ in REFUSED]
)
def test_what_does_not_fit_is_refused(take, root, tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(root)
    with pytest.raises(error) as caught:
        take(**options)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_spec_names_the_images_too(take, root, tmp_path):
    source = f"kind: folder\nroot: {root}\nchannels: 1\n"
    (tmp_path / "source.yaml").write_text(source)
    (tmp_path / "run.yaml").write_text(
        "name: x\ndata:\n" + "".join(f"  {line}\n" for line in source.splitlines())
    )
    expected = take().path.read_bytes()
    for name in ("source", "run"):
        assert take(f"{name}.npy", data=tmp_path / f"{name}.yaml").path.read_bytes() == expected
    (tmp_path / "empty.yaml").write_text("name: x\n")
    with pytest.raises(SpecError, match="says nothing of images; expected `data`"):
        take(data=tmp_path / "empty.yaml")


def test_names_are_those_of_the_package():
    assert sslkit.embed is embed_images.embed
