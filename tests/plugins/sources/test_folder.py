import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2.functional import pil_to_tensor

from sslkit import Folder
from sslkit.errors import DataError, SpecError


def write(path: Path, seed: int = 0, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def root(tmp_path) -> Path:
    """Three classes; files at several depths, other files and hidden ones."""
    names = ["b/2.png", "b/10.PNG", "a/deep/er/1.jpg", "a/0.bmp", "a b/x.webp"]
    for seed, name in enumerate(names):
        write(tmp_path / "data" / name, seed)
    (tmp_path / "data" / "README.txt").write_text("about")
    (tmp_path / "data" / "notes").mkdir()
    write(tmp_path / "data" / ".cache" / "thumb.png")
    write(tmp_path / "data" / "a" / ".hidden.png")
    return tmp_path / "data"


def test_class_folders_sorted_and_nested(root):
    source = Folder(root=root).build("train")
    assert [source.name(i) for i in range(len(source))] == [
        "a/0.bmp", "a/deep/er/1.jpg", "a b/x.webp", "b/10.PNG", "b/2.png",
    ]  # fmt: skip
    assert source.classes == ("a", "a b", "b")
    assert source.labels.tolist() == [0, 0, 1, 2, 2]
    assert (source.channels, source.sizes, source.resident()) == (3, None, None)


def test_images_and_labels_equal_torchvisions_image_folder(tmp_path):
    for seed, name in enumerate(["dog/1.png", "dog/x/2.jpg", "cat/3.png"]):
        write(tmp_path / name, seed, "L" if seed == 2 else "RGB")
    source, reference = Folder(root=tmp_path).build("train"), ImageFolder(tmp_path)
    theirs = {Path(path).relative_to(tmp_path).as_posix(): i for i, (path, _) in enumerate(reference.samples)}
    assert source.classes == tuple(reference.classes)
    for i in range(3):
        image, label = reference[theirs[source.name(i)]]
        assert torch.equal(source.load(i), pil_to_tensor(image))
        assert source.labels[i] == label


def test_a_flat_folder_has_no_labels(tmp_path):
    for name in ("2.png", "1.png"):
        write(tmp_path / name)
    source = Folder(root=tmp_path).build("train")
    assert [source.name(i) for i in range(2)] == ["1.png", "2.png"]
    assert source.labels is None
    assert source.classes == ()


def test_extensions_are_settable_in_any_spelling(root):
    assert Folder(root=root, extensions=["PNG", ".jpg"]).extensions == (".png", ".jpg")
    assert len(Folder(root=root, extensions=("png",)).build("train")) == 2
    with pytest.raises(SpecError, match="extension"):
        Folder(root=root, extensions=("",))


def test_the_test_split_counts_through_the_training_classes(root, tmp_path):
    for name in ("b/1.png", "b/2.png"):
        write(tmp_path / "test" / name)
    spec = Folder(root=root, test=tmp_path / "test")
    source = spec.build("test")
    assert source.labels.tolist() == [2, 2]
    assert source.classes == ("a", "a b", "b")
    assert Folder(root=root).build("test") is None


def test_a_test_class_that_was_never_trained_is_an_error(root, tmp_path):
    write(tmp_path / "test" / "zebra" / "1.png")
    with pytest.raises(
        DataError, match=r"test: class 'zebra' is not a class of the training images: a, a b, b"
    ):
        Folder(root=root, test=tmp_path / "test").build("test")


def test_fingerprint_follows_names_contents_and_channels_but_not_place_or_time(root, tmp_path):
    first = Folder(root=root).build("train").fingerprint
    shutil.copytree(root, tmp_path / "copy")
    assert Folder(root=tmp_path / "copy").build("train").fingerprint == first
    assert Folder(root=root, channels=1).build("train").fingerprint != first
    (tmp_path / "copy" / "b" / "2.png").rename(tmp_path / "copy" / "b" / "3.png")
    assert Folder(root=tmp_path / "copy").build("train").fingerprint != first
    with (root / "b" / "2.png").open("ab") as file:
        file.write(b"\0")
    assert Folder(root=root).build("train").fingerprint != first


def problem(spec) -> str:
    """What validation says, which must also be what building says."""
    found = list(spec.problems(None))
    assert len(found) == 1
    assert found[0].path == "root"
    with pytest.raises(DataError) as error:
        spec.build("train")
    assert str(error.value) == found[0].message
    return found[0].message


def test_a_missing_folder_is_found_by_validation(tmp_path, monkeypatch):
    assert problem(Folder(root=tmp_path / "nowhere")).startswith(
        f"{tmp_path}/nowhere: no such folder; expected"
    )
    monkeypatch.chdir(tmp_path)
    assert f"no such folder (looked from {tmp_path})" in problem(Folder(root="nowhere"))


def test_a_file_in_place_of_a_folder(tmp_path):
    write(tmp_path / "1.png")
    assert "1.png: is a file; expected a folder" in problem(Folder(root=tmp_path / "1.png"))


@pytest.mark.parametrize("content", [[], ["notes.txt"], ["a/notes.txt"], [".git/logo.png"]])
def test_a_folder_without_images(tmp_path, content):
    for name in content:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    message = problem(Folder(root=tmp_path))
    assert message.startswith(f"{tmp_path}: holds no image (.jpg, ")
    assert "`extensions`" in message


def test_a_missing_test_folder_is_found_by_validation(root, tmp_path):
    (found,) = Folder(root=root, test=tmp_path / "gone").problems(None)
    assert found.path == "test"
    write(tmp_path / "test" / "a" / "1.png")
    assert list(Folder(root=root, test=tmp_path / "test").problems(None)) == []


def test_loose_images_beside_class_folders(root):
    write(root / "loose.png")
    with pytest.raises(DataError, match=r"mixes loose images \('loose.png', 1 in all\).*\(a, a b, b\).*move"):
        Folder(root=root).build("train")


def test_splits_in_place_of_classes(tmp_path):
    for name in ("train/cat/1.png", "val/cat/1.png"):
        write(tmp_path / name)
    with pytest.raises(DataError, match=r"are splits \(train, val\), not classes.*root: .*train"):
        Folder(root=tmp_path).build("train")


def test_damaged_and_vanished_files_are_named(root):
    source = Folder(root=root).build("train")
    (root / "a" / "0.bmp").write_bytes(b"BM nothing")
    (root / "b" / "2.png").unlink()
    with pytest.raises(DataError, match=r"a/0\.bmp: cannot be decoded"):
        source.load(0)
    with pytest.raises(DataError, match=r"b/2\.png: cannot be read: No such file"):
        source.load(4)
    assert source.load(1).shape == (3, 5, 7)


def test_links_are_followed_but_not_in_circles(root, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "one").symlink_to(root / "a")
    (root / "a" / "again").symlink_to(root / "a")
    (root / "a" / "gone.png").symlink_to(root / "nothing.png")
    source = Folder(root=tmp_path / "linked").build("train")
    assert [source.name(i) for i in range(len(source))] == ["one/0.bmp", "one/deep/er/1.jpg", "one/gone.png"]
    with pytest.raises(DataError, match=r"one/gone\.png: cannot be read"):
        source.load(2)


def test_home_is_expanded(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    spec = Folder(root="~/data")
    assert list(spec.problems(None)) == []
    assert len(spec.build("train")) == 5


def test_workers_load_the_same_images(root):
    source = Folder(root=root).build("train")
    loader = DataLoader(_Indexed(source), batch_size=None, num_workers=1, multiprocessing_context="fork")
    for i, image in enumerate(loader):
        assert torch.equal(image, source.load(i))


class _Indexed(torch.utils.data.Dataset):
    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return self.source.load(index)
