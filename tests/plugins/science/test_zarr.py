"""Zarr and OME-Zarr: values of both formats, axes by their names, and no codec that runs code."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

zarr = pytest.importorskip("zarr", reason="needs zarr: pip install zarr")

from sslkit.errors import DataError  # noqa: E402
from sslkit_science.specs.arrays import Zarr  # noqa: E402

RNG = np.random.default_rng(0)


def images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 65536, shape, dtype=np.uint16)


def save(place, raw: np.ndarray, zarr_format: int = 3, **options) -> None:
    chunks = options.pop("chunks", raw.shape)
    array = zarr.create_array(
        str(place), shape=raw.shape, dtype=raw.dtype, chunks=chunks, zarr_format=zarr_format, **options
    )
    array[:] = raw


def load(root, **fields):
    source = Zarr(root=root, **fields).build("train")
    return source, [source.load(i) for i in range(len(source))]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_values_arrive(tmp_path, zarr_format):
    raw = images(4, 9, 8)
    save(tmp_path / "a.zarr", raw, zarr_format, chunks=(1, 4, 4))
    source, loaded = load(tmp_path, axes="NYX")
    np.testing.assert_array_equal(torch.cat(loaded).numpy(), raw)
    assert source.name(3) == "a.zarr N=3"
    source, loaded = load(tmp_path / "a.zarr", axes="NYX", tile=8, range="type")
    np.testing.assert_array_equal(loaded[1][0].numpy(), raw[0, 1:])


def test_shards_are_read(tmp_path):
    raw = images(4, 16, 16)
    save(tmp_path / "a.zarr", raw, chunks=(1, 8, 8), shards=(2, 16, 16))
    np.testing.assert_array_equal(torch.cat(load(tmp_path, axes="NYX")[1]).numpy(), raw)


def ome(place, raw: np.ndarray, zarr_format: int) -> None:
    """An image of two levels, `TCYX`."""
    axes = [{"name": name, "type": "space"} for name in ("t", "c", "y", "x")]
    scales = [{"axes": axes, "datasets": [{"path": "0"}, {"path": "deep/1"}]}]
    attributes = (
        {"multiscales": scales} if zarr_format == 2 else {"ome": {"multiscales": scales, "version": "0.5"}}
    )
    zarr.create_group(str(place), zarr_format=zarr_format, attributes=attributes)
    save(place / "0", raw, zarr_format)
    save(place / "deep" / "1", raw[:, :, ::2, ::2], zarr_format)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_ome_zarr_tells_axes_and_levels(tmp_path, zarr_format):
    raw = images(2, 3, 16, 12)
    ome(tmp_path / "a.ome.zarr", raw, zarr_format)
    source, loaded = load(tmp_path)
    assert source.channels == 3
    np.testing.assert_array_equal(torch.stack(loaded).numpy(), raw)
    np.testing.assert_array_equal(torch.stack(load(tmp_path, level=1)[1]).numpy(), raw[:, :, ::2, ::2])
    with pytest.raises(DataError, match="has 2 levels, counted from 0; level: 2"):
        load(tmp_path, level=2)
    np.testing.assert_array_equal(
        torch.stack(load(tmp_path, array="deep/1", axes="NCYX")[1]).numpy(), raw[:, :, ::2, ::2]
    )


def test_one_of_several_arrays_must_be_named(tmp_path):
    zarr.create_group(str(tmp_path / "a.zarr"))
    save(tmp_path / "a.zarr" / "one", images(9, 8))
    assert len(load(tmp_path)[1]) == 1
    save(tmp_path / "a.zarr" / "two", images(9, 8))
    with pytest.raises(
        DataError, match=r"a\.zarr: holds the arrays one, two; name one with the field `array`"
    ):
        load(tmp_path)
    assert len(load(tmp_path, array="two")[1]) == 1
    for name in ("../b", "/etc"):
        with pytest.raises(DataError, match="leads out of the store"):
            load(tmp_path, array=name)
    with pytest.raises(DataError, match="is no Zarr array"):
        load(tmp_path, array="three")


@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_codecs_that_run_code_are_refused_in_format_2(tmp_path, place):
    save(tmp_path / "a.zarr", images(9, 8), 2)
    path = tmp_path / "a.zarr" / ".zarray"
    metadata = json.loads(path.read_text())
    metadata[place] = {"id": "pickle"} if place == "compressor" else [{"id": "pickle"}]
    path.write_text(json.dumps(metadata))
    with pytest.raises(DataError, match="is coded by 'pickle', which is not read; write it with one of"):
        load(tmp_path)


def test_codecs_that_are_not_listed_are_refused_in_format_3(tmp_path):
    save(tmp_path / "a.zarr", images(9, 8), shards=(9, 8), chunks=(9, 4))
    path = tmp_path / "a.zarr" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["codecs"][0]["configuration"]["codecs"].append({"name": "numcodecs.pickle"})
    path.write_text(json.dumps(metadata))
    with pytest.raises(DataError, match="is coded by 'pickle'"):
        load(tmp_path)


def test_objects_are_refused(tmp_path):
    save(tmp_path / "a.zarr", images(9, 8), 2)
    path = tmp_path / "a.zarr" / ".zarray"
    path.write_text(path.read_text().replace('"<u2"', '"|O"'))
    with pytest.raises(DataError, match="holds object, not plain numbers"):
        load(tmp_path)
    save(tmp_path / "b.zarr", images(9, 8))
    path = tmp_path / "b.zarr" / "zarr.json"
    path.write_text(path.read_text().replace('"uint16"', '"string"'))
    with pytest.raises(DataError, match="holds string; expected numbers"):
        load(tmp_path / "b.zarr")


def test_damaged_metadata_name_their_file(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / ".zarray").write_text("{}")
    with pytest.raises(DataError, match=r"\.zarray.*dtype"):
        load(tmp_path)


def test_fingerprints_follow_chunks(tmp_path):
    raw = images(2, 9, 8)
    for name in ("one", "two"):
        save(tmp_path / name / "a.zarr", raw, chunks=(1, 9, 8))
    save(tmp_path / "three" / "a.zarr", raw[::-1].copy(), chunks=(1, 9, 8))

    def fingerprint(name):
        return Zarr(root=tmp_path / name, axes="NYX").build("train").fingerprint

    assert fingerprint("one") == fingerprint("two") != fingerprint("three")
