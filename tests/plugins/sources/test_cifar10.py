import base64
import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image

from sslkit import CIFAR10
from sslkit.errors import DataError
from sslkit_sources.cifar10 import CLASSES
from sslkit_sources.cifar10_files import cifar10_parquet
from sslkit_sources.parquet_labels import read_labels

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def pixels(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


@pytest.fixture
def batches(tmp_path) -> Path:
    """The official archive's layout with four images in a file and numpy's old module names."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for seed, name in enumerate(BATCHES):
        content = {"data": pixels(4, seed).reshape(4, -1), "labels": [seed, 1, 2, 9], "batch_label": name}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2).replace(b"numpy._core", b"numpy.core"))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}, protocol=2))
    return tmp_path


def encode(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array.transpose(1, 2, 0)).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def write_parquet(path: Path, images: list[bytes | None], labels: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    column = pa.array([{"bytes": data, "path": None} for data in images])
    pq.write_table(pa.table({"img": column, "label": labels}), path)


@pytest.fixture
def parquet(tmp_path) -> Path:
    """The Hugging Face layout: two training files, one test file, one folder down."""
    for seed, name in enumerate(["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"]):
        write_parquet(
            tmp_path / "plain_text" / f"{name}.parquet", list(map(encode, pixels(3, seed))), [seed, 5, 9]
        )
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test"])
def test_official_files_are_read_as_torchvision_reads_them(batches, split, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    for attribute in ("train_list", "test_list"):
        listed = [(name, None) for name, _ in getattr(torchvision.datasets.CIFAR10, attribute)]
        monkeypatch.setattr(torchvision.datasets.CIFAR10, attribute, listed)
    monkeypatch.setattr(
        torchvision.datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": None}
    )
    reference = torchvision.datasets.CIFAR10(str(batches), train=split == "train")
    source = CIFAR10(root=batches).build(split)
    assert np.array_equal(source.resident().permute(0, 2, 3, 1).numpy(), reference.data)
    assert source.labels.tolist() == reference.targets
    assert list(source.classes) == reference.classes


def test_parquet_files_are_joined_in_order(parquet):
    source = CIFAR10(root=parquet).build("train")
    assert np.array_equal(source.resident().numpy(), np.concatenate([pixels(3, 0), pixels(3, 1)]))
    assert source.labels.tolist() == [0, 5, 9, 1, 5, 9]
    assert source.name(4) == "CIFAR-10 train image 4"
    assert torch.equal(source.load(4), source.resident()[4])
    assert np.array_equal(CIFAR10(root=parquet).build("test").resident().numpy(), pixels(3, 2))


@pytest.mark.parametrize("layout", ["batches", "parquet"])
def test_limit_keeps_the_first(layout, request):
    root = request.getfixturevalue(layout)
    whole, some = CIFAR10(root=root).build("train"), CIFAR10(root=root, limit=5).build("train")
    assert torch.equal(some.resident(), whole.resident()[:5])
    assert torch.equal(some.labels, whole.labels[:5])
    assert some.fingerprint != whole.fingerprint


def test_both_layouts_of_the_same_images_have_one_fingerprint(batches, tmp_path):
    for split, names in (("train", BATCHES[:5]), ("test", BATCHES[5:])):
        seeds = [BATCHES.index(name) for name in names]
        images = [encode(image) for seed in seeds for image in pixels(4, seed)]
        labels = [label for seed in seeds for label in (seed, 1, 2, 9)]
        write_parquet(tmp_path / "hub" / f"{split}.parquet", images, labels)
        ours = CIFAR10(root=tmp_path / "hub").build(split)
        assert ours.fingerprint == CIFAR10(root=batches).build(split).fingerprint


def test_neither_layout_is_found_by_validation(tmp_path):
    write_parquet(tmp_path / "some" / "other" / "train.parquet", [None], [0])
    spec = CIFAR10(root=tmp_path)
    (problem,) = spec.problems(None)
    assert problem.path == "root"
    for part in (str(tmp_path), "cifar-10-batches-py/data_batch_1", "*train*.parquet"):
        assert part in problem.message
    with pytest.raises(
        DataError, match=r"no CIFAR-10 test images; looked for cifar-10-batches-py/test_batch"
    ):
        spec.build("test")


def test_a_missing_folder_is_found_by_validation(tmp_path):
    (problem,) = CIFAR10(root=tmp_path / "gone").problems(None)
    assert "gone: no such folder" in problem.message


def test_an_incomplete_archive_names_what_it_lacks(batches):
    (batches / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataError, match="cifar-10-batches-py: lacks data_batch_3; unpack"):
        CIFAR10(root=batches).build("train")
    assert len(CIFAR10(root=batches).build("test")) == 4


class _Attack:
    """Unpickles as a call of `function`."""

    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        return self.function, ("code from a data file",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"nonsense", "not a CIFAR-10 batch"),
        (pickle.dumps({"data": pixels(1, 0), "labels": [1, 2]}), "shape"),
        (pickle.dumps({"images": 1}), "'labels'"),
        (pickle.dumps(_Attack(print)), "builtins.print, which no CIFAR-10 file does"),
        (pickle.dumps(_Attack(np.save)), "numpy.save, which no CIFAR-10 file does"),
        (b"cnumpy.testing\ndtype\n.", "numpy.testing.dtype, which no CIFAR-10 file does"),
        (pickle.dumps(_Attack(base64.encode)), "base64.encode, which no CIFAR-10 file does"),
    ],
    ids=["nonsense", "shape", "keys", "code", "code of numpy", "module of numpy", "code of an allowed name"],
)
def test_damaged_batches_are_named(batches, content, reason, capsys):
    (batches / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=rf"test_batch: .*{reason}"):
        CIFAR10(root=batches).build("test")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"nonsense", "cannot be decoded"),
        (None, "cannot be decoded"),
        (encode(np.zeros((3, 8, 8), np.uint8)), "has 8 x 8 pixels"),
    ],
    ids=["nonsense", "missing", "size"],
)
def test_damaged_rows_are_named(tmp_path, data, reason):
    write_parquet(tmp_path / "test.parquet", [encode(pixels(1, 0)[0]), data], [0, 1])
    with pytest.raises(DataError, match=rf"test\.parquet row 1: .*{reason}"):
        CIFAR10(root=tmp_path).build("test")


def test_a_label_beyond_the_ten_classes(tmp_path):
    write_parquet(tmp_path / "test.parquet", [encode(pixels(1, 0)[0])], [10])
    with pytest.raises(DataError, match="label 10 in column 'label' is none of the 10 classes"):
        CIFAR10(root=tmp_path).build("test")


@pytest.mark.slow
def test_facts_of_the_real_data(shared_data):
    """Of the pixels those of the test set, as decoding the 50,000 of the other takes half a minute."""
    root = shared_data / "cifar10"
    labels, _ = read_labels(cifar10_parquet(root, "train"), "label", CLASSES, numbers_agree=True)
    assert labels.bincount().tolist() == [5000] * 10
    assert CIFAR10(root=root, limit=3).build("train").resident().shape == (3, 3, 32, 32)
    test = CIFAR10(root=root).build("test")
    assert test.labels.bincount().tolist() == [1000] * 10
    images = test.resident()
    assert images.shape == (10_000, 3, 32, 32)
    channels = images.transpose(0, 1).flatten(1)
    mean = torch.stack([c.double().mean() for c in channels]) / 255
    std = torch.stack([c.double().std() for c in channels]) / 255
    torch.testing.assert_close(mean, torch.tensor([0.49421, 0.48513, 0.45041]).double(), atol=6e-6, rtol=0)
    torch.testing.assert_close(std, torch.tensor([0.24665, 0.24289, 0.26159]).double(), atol=6e-6, rtol=0)
