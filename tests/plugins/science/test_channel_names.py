"""Channels by the names that files give them: GDAL, OME and ImageJ in TIFF, OME-Zarr; other formats have none."""

from __future__ import annotations

import numpy as np
import pytest

tifffile = pytest.importorskip("tifffile", reason="needs tifffile: pip install tifffile")

from sslkit.errors import DataError, SpecError  # noqa: E402
from sslkit.specs.load import parse  # noqa: E402
from sslkit_science.specs.tiff import TIFF  # noqa: E402
from tests.specs.valid import small  # noqa: E402

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 65535, shape, dtype=np.uint16)


def geotiff(path, raw: np.ndarray, names: list[str], item: str = "") -> None:
    """`raw` `[H, W, C]` with descriptions of its bands, as GDAL writes them."""
    item = item or '<Item name="DESCRIPTION" sample="{}" role="description">{}</Item>'
    items = "\n".join(item.format(place, name) for place, name in enumerate(names))
    other = '<Item name="OFFSET" sample="0" role="offset">5</Item><Item name="TITLE">B99</Item>'
    text = f"<GDALMetadata>\n{other}{items}\n</GDALMetadata>"
    options = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None}
    path.parent.mkdir(exist_ok=True, parents=True)
    tifffile.imwrite(path, raw, extratags=[(42112, "s", 0, text, True)], **options)


def first(root, **fields) -> np.ndarray:
    return TIFF(root=root, range="type", **fields).build("train").load(0).numpy()


def test_bands_of_geotiff_by_name(tmp_path):
    raw = pixels(9, 8, 5)
    geotiff(tmp_path / "a.tif", raw, ["B02", "B03", "B04", "B08", "R &amp; D"])
    expected = raw.transpose(2, 0, 1)
    np.testing.assert_array_equal(first(tmp_path, bands=["B04", "B03", "B02"]), expected[[2, 1, 0]])
    np.testing.assert_array_equal(first(tmp_path, bands=["R & D", 0]), expected[[4, 0]])


def test_attributes_of_gdal_in_any_order_and_quotes(tmp_path):
    raw = pixels(9, 8, 2)
    geotiff(
        tmp_path / "a.tif",
        raw,
        ["red", "nir"],
        "<Item sample='{}' role='description' name='DESCRIPTION'>{}</Item>",
    )
    np.testing.assert_array_equal(first(tmp_path, bands=["nir"])[0], raw[..., 1])


def test_each_file_has_its_order(tmp_path):
    raw = pixels(9, 8, 2)
    geotiff(tmp_path / "a.tif", raw, ["red", "nir"])
    geotiff(tmp_path / "b.tif", raw, ["nir", "red"])
    source = TIFF(root=tmp_path, bands=["red"], range="type").build("train")
    np.testing.assert_array_equal(source.load(0)[0].numpy(), raw[..., 0])
    np.testing.assert_array_equal(source.load(1)[0].numpy(), raw[..., 1])
    assert source.channels == 1


def test_a_number_in_quotes_is_a_name_before_it_is_a_place(tmp_path):
    raw = pixels(9, 8, 3)
    geotiff(tmp_path / "a.tif", raw, ["2", "0", "1"])
    np.testing.assert_array_equal(first(tmp_path, bands=["2", 2])[0], raw[..., 0])
    np.testing.assert_array_equal(first(tmp_path, bands=["2", 2])[1], raw[..., 2])


def test_a_name_that_is_missing_is_told_with_its_like(tmp_path):
    geotiff(tmp_path / "a.tif", pixels(9, 8, 3), ["B02", "B03", "B04"])
    with pytest.raises(
        DataError, match=r"a\.tif: has no channel 'b4'\. Did you mean 'B04'\? Known: B02, B03, B04"
    ):
        TIFF(root=tmp_path, bands=["b4"], range="type").build("train")
    with pytest.raises(DataError, match=r"has 3 channels, counted from 0 \(B02, B03, B04\); bands names 3"):
        TIFF(root=tmp_path, bands=[3], range="type").build("train")


@pytest.mark.parametrize("names", [["a", "b"], ["a", "a", "b"], ["a", "", "b"], []])
def test_names_that_do_not_fit_the_channels_are_none(tmp_path, names):
    geotiff(tmp_path / "a.tif", pixels(9, 8, 3), names)
    with pytest.raises(
        DataError, match=r"a\.tif: has 3 channels, counted from 0, without names; bands names 'a'"
    ):
        TIFF(root=tmp_path, bands=["a"], range="type").build("train")


@pytest.mark.parametrize("axes", ["TCYX", "CTYX"])
def test_channels_of_ome_by_name(tmp_path, axes):
    raw = pixels(*({"T": 2, "C": 3, "Y": 9, "X": 8}[axis] for axis in axes))
    metadata = {"axes": axes, "Channel": {"Name": ["DNA", "actin <1>", "mito"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", raw, metadata=metadata, photometric="minisblack")
    expected = raw if axes == "TCYX" else raw.swapaxes(0, 1)
    np.testing.assert_array_equal(first(tmp_path, bands=["mito", "actin <1>"]), expected[0, [2, 1]])


def test_each_series_of_ome_has_names_of_its_own(tmp_path):
    raw = pixels(2, 9, 8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for names in (["DNA", "actin"], ["actin", "DNA"]):
            metadata = {"axes": "CYX", "Channel": {"Name": names}}
            file.write(raw, metadata=metadata, photometric="minisblack")
    np.testing.assert_array_equal(first(tmp_path, bands=["DNA"])[0], raw[0])
    np.testing.assert_array_equal(first(tmp_path, bands=["DNA"], series=1)[0], raw[1])


def test_channels_of_imagej_by_name(tmp_path):
    raw = pixels(2, 9, 8)
    tifffile.imwrite(
        tmp_path / "a.tif", raw, imagej=True, metadata={"axes": "CYX", "Labels": ["DNA", "actin"]}
    )
    np.testing.assert_array_equal(first(tmp_path, bands=["actin"])[0], raw[1])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_channels_of_ome_zarr_by_name(tmp_path, zarr_format):
    zarr = pytest.importorskip("zarr", reason="needs zarr: pip install zarr")
    from sslkit_science.specs.arrays import Zarr

    raw = pixels(3, 9, 8)
    image = {"multiscales": [{"datasets": [{"path": "0"}], "axes": [{"name": axis} for axis in "cyx"]}]}
    image["omero"] = {"channels": [{"label": name} for name in ("DNA", "actin", "mito")]}
    store = str(tmp_path / "a.zarr")
    attributes = image if zarr_format == 2 else {"ome": image}
    zarr.create_group(store, zarr_format=zarr_format, attributes=attributes)
    zarr.create_array(f"{store}/0", data=raw, zarr_format=zarr_format)
    source = Zarr(root=tmp_path, bands=["mito", "DNA"], range="type").build("train")
    np.testing.assert_array_equal(source.load(0).numpy(), raw[[2, 0]])
    with pytest.raises(DataError, match=r"has no channel 'RNA'\. Did you mean 'DNA'\?"):
        Zarr(root=tmp_path, bands=["RNA"], range="type").build("train")


@pytest.mark.parametrize(
    ("kind", "sample", "title"),
    [("nifti", "phantoms.nii", "NIfTI"), ("hdf5", "phantoms.h5", "HDF5"), ("npy", "phantoms.npy", "NumPy")],
)
def test_formats_without_names_refuse_them_before_the_run(kind, sample, title):
    from sslkit_science.specs.fields import SAMPLES

    data = {"kind": kind, "root": str(SAMPLES / sample), "bands": ["B04", 0]}
    with pytest.raises(
        SpecError, match=rf"data\.bands: {title} files have no names of channels, so 'B04' is none"
    ):
        parse(small(data=data))
    assert parse(small(data={**data, "bands": [0]})).data.bands == (0,)


def test_sources_name_their_channels(tmp_path):
    raw = pixels(2, 9, 8)
    metadata = {"axes": "CYX", "Labels": ["DNA", "actin"]}
    tifffile.imwrite(tmp_path / "a.tif", raw, imagej=True, metadata=metadata)
    names = [
        TIFF(root=tmp_path, test=tmp_path, range="type", **fields).build(split).channel_names
        for fields in ({}, {"bands": ["actin"]}, {"bands": [1, 0]})
        for split in ("train", "test")
    ]
    assert names == [("DNA", "actin")] * 2 + [("actin",)] * 2 + [("actin", "DNA")] * 2
    (tmp_path / "plain").mkdir()
    tifffile.imwrite(tmp_path / "plain" / "a.tif", raw, photometric="minisblack")
    assert TIFF(root=tmp_path / "plain", range="type").build("train").channel_names == ()


def test_all_images_without_the_channels_stop_the_start(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(9, 8, 3), photometric="rgb")
    with pytest.raises(DataError, match=r"a\.tif: has 3 channels, and channels: 4 asks for others"):
        TIFF(root=tmp_path, channels=4).build("train")
