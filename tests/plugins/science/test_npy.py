"""NumPy files: mapped arrays, archives with labels, and no pickles."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from sslkit.errors import DataError, SpecError
from sslkit_science.specs.arrays import NumPy

RNG = np.random.default_rng(0)


def images(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def load(root, **fields):
    source = NumPy(root=root, **fields).build("train")
    return source, [source.load(i) for i in range(len(source))]


AXES = {
    "YX": (9, 8),
    "NYX": (4, 9, 8),
    "NYXC": (4, 9, 8, 3),
    "NCYX": (4, 3, 9, 8),
    "NHWC": (4, 9, 8, 3),
    "CYXN": (3, 9, 8, 4),
    "TZCYX": (2, 3, 3, 9, 8),
    "XY": (9, 8),
}


@pytest.mark.parametrize("axes", AXES)
def test_axes_are_what_they_are_called(tmp_path, axes):
    raw = images(*AXES[axes])
    np.save(tmp_path / "a.npy", raw)
    source, loaded = load(tmp_path, axes=axes)
    letters = axes.replace("H", "Y").replace("W", "X")
    others = [axis for axis in letters if axis not in "CYX"]
    order = [letters.index(axis) for axis in [*others, *("C" if "C" in letters else ""), "Y", "X"]]
    size = raw.shape[letters.index("Y")], raw.shape[letters.index("X")]
    np.testing.assert_array_equal(
        torch.stack(loaded).numpy(), raw.transpose(order).reshape(len(loaded), -1, *size)
    )
    assert source.channels == (3 if "C" in axes else 1)
    assert source.sizes == {size}


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint32", "int64", "float16", "float32", "float64", ">u2"])
def test_types(tmp_path, dtype):
    raw = RNG.random((9, 8)) > 0.5 if dtype == "bool" else (100 * RNG.random((9, 8))).astype(dtype)
    np.save(tmp_path / "a.npy", raw)
    _, (image,) = load(tmp_path, range=(0, 255 if dtype == "bool" else 100))
    expected = 1.0 * raw if dtype == "bool" else raw.astype(np.float64) / 100
    np.testing.assert_allclose(image[0].numpy(), expected, atol=1e-6)


def test_axes_without_names_are_asked_for(tmp_path):
    np.save(tmp_path / "a.npy", images(4, 9, 8))
    with pytest.raises(DataError, match=r"a\.npy: has the shape \(4, 9, 8\); .*`axes`.* axes: NYX"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"has the shape \(4, 9, 8\), 3 axes, but axes: NCYX names 4"):
        load(tmp_path, axes="NCYX")
    for axes, reason in (("NYY", "names an axis twice"), ("NCY", "lacks Y"), ("nyx", "capital letters")):
        with pytest.raises(SpecError, match=reason):
            NumPy(root=tmp_path, axes=axes)


def test_archives_with_labels(tmp_path):
    raw, labels = images(5, 9, 8), np.array([2, 0, 1, 1, 0])
    np.savez_compressed(tmp_path / "a.npz", x=raw, y=labels)
    source, loaded = load(tmp_path, axes="NYX", labels="y")
    np.testing.assert_array_equal(torch.cat(loaded).numpy(), raw)
    assert (source.labels.tolist(), source.classes) == ([2, 0, 1, 1, 0], ("0", "1", "2"))
    with pytest.raises(DataError, match=r"a\.npz: holds the arrays x, y; name one with the field `array`"):
        load(tmp_path, axes="NYX")
    _, loaded = load(tmp_path, axes="NYX", array="x")
    assert len(loaded) == 5


def test_labels_may_be_text_and_fit_training(tmp_path):
    for split, names in (("train", ["dog", "cat"]), ("test", ["cat", "cat"])):
        (tmp_path / split).mkdir()
        np.savez(tmp_path / split / "a.npz", x=images(2, 9, 8), y=np.array(names))
    fields = {"axes": "NYX", "labels": "y", "test": tmp_path / "test"}
    spec = NumPy(root=tmp_path / "train", **fields)
    assert spec.build("train").labels.tolist() == [1, 0]
    assert spec.build("test").labels.tolist() == [0, 0]
    assert spec.build("test").classes == ("cat", "dog")
    np.savez(tmp_path / "test" / "a.npz", x=images(2, 9, 8), y=np.array(["cow", "cat"]))
    with pytest.raises(DataError, match="the label 'cow' is none of the 2 training classes"):
        spec.build("test")


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.array([0, 1, 2]), "has 5 images and 3 labels"),
        (np.array([0, 1, -1, 0, 1]), "expected whole numbers from 0, or text"),
        (np.array([0.5, 1, 1, 0, 1]), "its labels are float64"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, reason):
    np.savez(tmp_path / "a.npz", x=images(5, 9, 8), y=labels)
    with pytest.raises(DataError, match=reason):
        load(tmp_path, axes="NYX", labels="y")


def test_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[None, 1], [2, 3]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: holds object, not plain numbers; .* never loaded"):
        load(tmp_path)
    (tmp_path / "a.npy").unlink()
    np.savez(tmp_path / "a.npz", x=np.array([[None, 1], [2, 3]], dtype=object))
    with pytest.raises(DataError, match=r"a\.npz: holds object, not plain numbers"):
        load(tmp_path)
    np.savez(tmp_path / "a.npz", x=images(2, 9, 8), y=np.array([None, 1], dtype=object))
    with pytest.raises(DataError, match=r"a\.npz: cannot be read: Object arrays"):
        load(tmp_path, axes="NYX", labels="y")
    with (tmp_path / "a.npz").open("wb") as file:
        pickle.dump({"x": 1}, file)
    with pytest.raises(DataError, match=r"a\.npz: cannot be read: "):
        load(tmp_path)


def test_a_large_archive_is_refused_before_it_is_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", np.zeros((100, 100)))
    source = NumPy(root=tmp_path, max_bytes=1000, range="type").build("train")
    with pytest.raises(DataError, match=r"has 80,000 bytes, more than max_bytes=1,000; write it as \.npy"):
        source.load(0)


def test_arrays_are_mapped_and_cut_into_tiles(tmp_path):
    raw = images(2, 40, 30)
    raw[1] = 7
    np.save(tmp_path / "a.npy", raw)
    source, loaded = load(tmp_path, axes="NYX", tile=20, range="type")
    assert [source.name(i) for i in range(len(source))] == [
        f"a.npy N=0 row {y} column {x}" for y in (0, 20) for x in (0, 10)
    ]
    np.testing.assert_array_equal(loaded[3][0].numpy(), raw[0, 20:, 10:])
    assert len(load(tmp_path, axes="NYX", tile=20, empty=None, range="type")[1]) == 8


def test_class_folders_and_channels(tmp_path):
    for name in ("lake/0.npy", "wood/0.npy", "wood/1.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, images(13, 9, 8))
    source, loaded = load(tmp_path, axes="CYX", bands=(12, 3, 1))
    assert (source.channels, source.classes, source.labels.tolist()) == (3, ("lake", "wood"), [0, 1, 1])
    raw = np.load(tmp_path / "wood" / "1.npy")
    np.testing.assert_array_equal(loaded[2].numpy(), raw[[12, 3, 1]])


def test_ranges_of_each_channel(tmp_path):
    raw = np.stack([images(9, 8) // 64, images(9, 8) // 8])
    np.save(tmp_path / "a.npy", raw)
    _, (image,) = load(tmp_path, axes="CYX", range=((0, 1023), (0, 8191)))
    np.testing.assert_allclose(image[0].numpy(), raw[0] / 1023, atol=1e-6)
    np.testing.assert_allclose(image[1].numpy(), raw[1] / 8191, atol=1e-6)


def test_a_source_pickles(tmp_path):
    np.save(tmp_path / "a.npy", images(3, 9, 8))
    source, loaded = load(tmp_path, axes="NYX")
    assert torch.equal(pickle.loads(pickle.dumps(source)).load(2), loaded[2])
