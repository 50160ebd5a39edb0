"""HDF5: data sets read in parts, labels, and no other file whatever a file names."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")

from sslkit.errors import DataError  # noqa: E402
from sslkit_science.specs.arrays import HDF5  # noqa: E402

RNG = np.random.default_rng(0)


def images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 65536, shape, dtype=np.uint16)


def load(root, **fields):
    source = HDF5(root=root, **fields).build("train")
    return source, [source.load(i) for i in range(len(source))]


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 9, 8), "compression": "gzip"}])
def test_values_arrive(tmp_path, options):
    raw = images(4, 9, 8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=raw, **options)
    source, loaded = load(tmp_path, axes="NYX")
    np.testing.assert_array_equal(torch.cat(loaded).numpy(), raw)
    assert source.name(2) == "a.h5 N=2"


def test_labels_as_numbers_of_any_shape_or_as_text(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = images(3, 9, 8, 3), np.array([1, 0, 1]).reshape(3, 1, 1, 1)
        file["names"] = ["dog", "cat", "dog"]
    fields = {"axes": "NYXC", "dataset": "x"}
    source, _ = load(tmp_path, labels="y", **fields)
    assert (source.labels.tolist(), source.classes, source.channels) == ([1, 0, 1], ("0", "1"), 3)
    source, _ = load(tmp_path, labels="names", **fields)
    assert (source.labels.tolist(), source.classes) == ([1, 0, 1], ("cat", "dog"))
    assert source.fingerprint != load(tmp_path, **fields)[0].fingerprint
    with pytest.raises(
        DataError, match=r"a\.h5: has no data set 'z'; it has names, x, y. Set the field `labels`"
    ):
        load(tmp_path, labels="z", **fields)


def test_one_of_several_must_be_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/one"], file["two"], file["vector"] = images(2, 9, 8), images(3, 9, 8), images(5)
    with pytest.raises(
        DataError, match=r"holds the data sets group/one, two; name one with the field `dataset`"
    ):
        load(tmp_path, axes="NYX")
    assert len(load(tmp_path, axes="NYX", dataset="group/one")[1]) == 2
    assert len(load(tmp_path, axes="NYX", dataset="/two")[1]) == 3


def test_links_to_other_files_are_not_followed(tmp_path):
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = images(2, 9, 8)
    with h5py.File(tmp_path / "in" / "a.h5", "w") as file:
        file["linked"] = h5py.ExternalLink("../other.h5", "x")
        layout = h5py.VirtualLayout((2, 9, 8), np.uint16)
        layout[:] = h5py.VirtualSource("../other.h5", "x", (2, 9, 8))
        file.create_virtual_dataset("virtual", layout)
    with pytest.raises(DataError, match="has no data set 'linked'"):
        load(tmp_path / "in", axes="NYX", dataset="linked")
    with pytest.raises(DataError, match="the values of 'virtual' lie in other files"):
        load(tmp_path / "in", axes="NYX", dataset="virtual")


def test_values_outside_of_the_file_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "raw.bin").write_bytes(images(9, 8).tobytes())
    with h5py.File(tmp_path / "in" / "a.h5", "w") as file:
        place = [(str(tmp_path / "raw.bin"), 0, 144)]
        file.create_dataset("x", (9, 8), np.uint16, external=place)
    with pytest.raises(DataError, match="the values of 'x' lie in other files"):
        load(tmp_path / "in")


def test_objects_and_texts_are_no_images(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (2, 3), h5py.vlen_dtype(np.uint8))
    with pytest.raises(DataError, match=r"a\.h5 /x: holds object, not plain numbers"):
        load(tmp_path)
    (tmp_path / "a.h5").write_bytes(b"words")
    with pytest.raises(DataError, match=r"a\.h5: cannot be read: "):
        load(tmp_path)


def test_tiles_of_a_large_raster(tmp_path):
    raw = images(40, 50, 4)
    raw[:20, :20] = 3
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=raw, chunks=(10, 10, 4))
    source, loaded = load(tmp_path, axes="YXC", tile=20, range="type")
    assert [source.name(i) for i in range(len(source))] == [
        f"a.h5 row {y} column {x}" for y in (0, 20) for x in (0, 20, 30) if (y, x) != (0, 0)
    ]
    np.testing.assert_array_equal(loaded[-1].numpy(), raw[20:, 30:].transpose(2, 0, 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_copy_reads_its_own_file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = images(3, 9, 8)
    source, loaded = load(tmp_path, axes="NYX")
    again = pickle.loads(pickle.dumps(source))
    assert torch.equal(again.load(1), loaded[1])
    opened = source.reader._open[tmp_path / "a.h5"]
    assert opened is source.reader._open[tmp_path / "a.h5"], "kept open"
    source.reader._open._process += 1  # as in a fork
    assert torch.equal(source.load(1), loaded[1])
    assert source.reader._open[tmp_path / "a.h5"] is not opened
    opened.close()
