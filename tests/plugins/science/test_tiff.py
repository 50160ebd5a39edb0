"""TIFF: the values that tifffile and numpy wrote arrive, whatever the pixel type and the layout."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

tifffile = pytest.importorskip("tifffile", reason="needs tifffile: pip install tifffile")

from sslkit.errors import DataError, SpecError  # noqa: E402
from sslkit_science.specs.tiff import TIFF  # noqa: E402

RNG = np.random.default_rng(0)
INTEGERS = ("uint8", "uint16", "int16")
"""Types that arrive as they are."""
MAPPED = ("int8", "uint32", "int32", "float16", "float32", "float64")


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Over the whole range of integers, and 0 to 1 of floats."""
    if np.dtype(dtype).kind == "f":
        return RNG.random(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def as_unit(raw: np.ndarray) -> np.ndarray:
    """What stands for `raw` in 0 to 1."""
    if raw.dtype.kind == "f":
        return raw.astype(np.float64)
    limits = np.iinfo(raw.dtype)
    return (raw.astype(np.float64) - limits.min) / (float(limits.max) - limits.min)


def unit_of(image: torch.Tensor) -> np.ndarray:
    """A loaded image in 0 to 1."""
    return as_unit(image.numpy())


def write(folder, name: str, raw: np.ndarray, **options) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    tifffile.imwrite(folder / name, raw, **options)


def load(root, **fields):
    source = TIFF(root=root, **fields).build("train")
    return source, [source.load(i) for i in range(len(source))]


LAYOUTS = {
    "gray": ((20, 24), {}, (1, 20, 24)),
    "big endian": ((20, 24), {"byteorder": ">"}, (1, 20, 24)),
    "deflate": ((20, 24), {"compression": "zlib"}, (1, 20, 24)),
    "strips": ((20, 24), {"rowsperstrip": 3, "compression": "zlib"}, (1, 20, 24)),
    "tiles": ((20, 40), {"tile": (16, 16), "compression": "zlib"}, (1, 20, 40)),
    "two samples": ((20, 24, 2), {"photometric": "minisblack", "planarconfig": "contig"}, (2, 20, 24)),
    "RGB": ((20, 24, 3), {"photometric": "rgb"}, (3, 20, 24)),
    "RGB planes": ((3, 20, 24), {"photometric": "rgb", "planarconfig": "separate"}, (3, 20, 24)),
    "RGB and infrared": ((20, 24, 4), {"photometric": "rgb", "extrasamples": ["unspecified"]}, (4, 20, 24)),
    "13 bands": ((20, 24, 13), {"photometric": "minisblack", "planarconfig": "contig"}, (13, 20, 24)),
    "13 band planes": ((13, 20, 24), {"photometric": "minisblack", "planarconfig": "separate"}, (13, 20, 24)),
    "5 tiled planes": (
        (5, 20, 40),
        {"photometric": "minisblack", "planarconfig": "separate", "tile": (16, 16)},
        (5, 20, 40),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [*INTEGERS, *MAPPED])
def test_every_type_in_every_layout_arrives(tmp_path, layout, dtype):
    shape, options, arranged = LAYOUTS[layout]
    raw = values(dtype, shape)
    write(tmp_path, "a.tif", raw, **options)
    source, (image,) = load(tmp_path)
    expected = raw if shape[0] == arranged[0] and len(shape) == 3 else np.moveaxis(np.atleast_3d(raw), -1, 0)
    assert source.channels == arranged[0]
    assert tuple(image.shape) == arranged
    assert image.dtype == (getattr(torch, dtype) if dtype in INTEGERS else torch.float32)
    np.testing.assert_allclose(unit_of(image), as_unit(expected), atol=1e-6)


def test_white_is_zero_is_turned(tmp_path):
    raw = values("uint16", (9, 9))
    write(tmp_path, "a.tif", raw, photometric="miniswhite")
    _, (image,) = load(tmp_path)
    np.testing.assert_array_equal(image[0].numpy(), 65535 - raw)
    _, (image,) = load(tmp_path, range=(0, 30000))
    np.testing.assert_allclose(image[0].numpy(), 1 - np.clip(raw / 30000, 0, 1), atol=1e-6)


def test_bits_and_palettes(tmp_path):
    bits, places = values("uint8", (9, 16)) > 127, values("uint8", (9, 9))
    for photometric, expected in (("minisblack", 255 * bits), ("miniswhite", 255 - 255 * bits)):
        write(tmp_path / photometric, "a.tif", bits, photometric=photometric)
        np.testing.assert_array_equal(load(tmp_path / photometric)[1][0][0].numpy(), expected)
    colors = values("uint16", (3, 256))
    write(tmp_path / "palette", "a.tif", places, photometric="palette", colormap=colors)
    source, (image,) = load(tmp_path / "palette")
    assert source.channels == 3
    np.testing.assert_array_equal(image.numpy(), colors[:, places])


def test_pages_are_images_or_channels(tmp_path):
    raw = values("uint16", (5, 9, 8))
    write(tmp_path, "a.tif", raw, photometric="minisblack")
    source, images = load(tmp_path)
    assert len(images) == 5
    np.testing.assert_array_equal(torch.cat(images).numpy(), raw)
    assert source.name(3) == "a.tif Q=3"
    _, (image,) = load(tmp_path, pages="channels")
    np.testing.assert_array_equal(image.numpy(), raw)
    _, (image,) = load(tmp_path, pages="channels", bands=(3, 1))
    np.testing.assert_array_equal(image.numpy(), raw[[3, 1]])


def test_compressed_pages_one_by_one(tmp_path):
    raw = values("uint16", (4, 9, 8))
    tmp_path.mkdir(exist_ok=True)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in raw:
            file.write(page, compression="zlib", metadata=None)
    _, images = load(tmp_path)
    np.testing.assert_array_equal(torch.cat(images).numpy(), raw)


def test_hyperstacks_of_imagej(tmp_path):
    raw = values("uint16", (2, 3, 4, 9, 8))
    write(tmp_path, "a.tif", raw, imagej=True, metadata={"axes": "TZCYX"})
    source, images = load(tmp_path)
    assert source.channels == 4
    np.testing.assert_array_equal(torch.stack(images).numpy(), raw.reshape(6, 4, 9, 8))
    assert source.name(5) == "a.tif T=1 Z=2"


@pytest.mark.parametrize("axes", ["TCZYX", "ZCTYX", "CTZYX"])
def test_ome_tells_which_axis_is_which(tmp_path, axes):
    sizes = {"T": 2, "C": 3, "Z": 4, "Y": 9, "X": 8}
    raw = values("uint16", tuple(sizes[axis] for axis in axes))
    write(tmp_path, "a.ome.tif", raw, metadata={"axes": axes}, compression="zlib", photometric="minisblack")
    source, images = load(tmp_path)
    assert source.channels == 3
    others = [axis for axis in axes if axis not in "CYX"]
    order = [axes.index(axis) for axis in [*others, "C", "Y", "X"]]
    np.testing.assert_array_equal(torch.stack(images).numpy(), raw.transpose(order).reshape(8, 3, 9, 8))


def test_series_of_a_file(tmp_path):
    first, second = values("uint16", (9, 8)), values("uint16", (2, 12, 10))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(first, metadata={"axes": "YX"})
        file.write(second, metadata={"axes": "ZYX"}, photometric="minisblack")
    assert len(load(tmp_path)[1]) == 1
    _, images = load(tmp_path, series=1)
    np.testing.assert_array_equal(torch.cat(images).numpy(), second)
    source, images = load(tmp_path, series="all")
    assert [tuple(image.shape) for image in images] == [(1, 9, 8), (1, 12, 10), (1, 12, 10)]
    assert source.sizes == {(9, 8), (12, 10)}
    assert source.name(2) == "a.ome.tif series 1 Z=1"
    with pytest.raises(DataError, match=r"has 2 series, counted from 0; series: 2"):
        load(tmp_path, series=2)


def test_levels_of_a_pyramid(tmp_path):
    raw = values("uint8", (64, 64))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", bigtiff=True) as file:
        file.write(raw, subifds=1, tile=(16, 16), compression="zlib", metadata={"axes": "YX"})
        file.write(raw[::2, ::2], subfiletype=1, tile=(16, 16), compression="zlib")
    np.testing.assert_array_equal(load(tmp_path)[1][0][0].numpy(), raw)
    np.testing.assert_array_equal(load(tmp_path, level=1)[1][0][0].numpy(), raw[::2, ::2])
    with pytest.raises(DataError, match="has 2 levels, counted from 0; level: 2"):
        load(tmp_path, level=2)


TILED = {
    "tiles": {"tile": (16, 16), "compression": "zlib"},
    "strips": {"rowsperstrip": 7, "compression": "zlib"},
    "plain": {},
    "planes": {"planarconfig": "separate", "tile": (32, 16), "compression": "zlib"},
}


@pytest.mark.parametrize("stored", TILED)
def test_large_images_are_cut_into_tiles(tmp_path, stored):
    raw = values("uint16", (3, 50, 70))
    written = raw if stored == "planes" else raw.transpose(1, 2, 0)
    write(tmp_path, "a.tif", written, photometric="rgb", **TILED[stored])
    source, images = load(tmp_path, tile=24)
    corners = [(y, x) for y in (0, 24, 26) for x in (0, 24, 46)]
    assert source.sizes == {(24, 24)}
    for (y, x), image in zip(corners, images, strict=True):
        np.testing.assert_array_equal(image.numpy(), raw[:, y : y + 24, x : x + 24])
    assert source.name(4) == "a.tif row 24 column 24"


def test_tiles_are_read_without_the_rest(tmp_path, monkeypatch):
    write(tmp_path, "a.tif", values("uint8", (128, 128)), tile=(16, 16), compression="zlib")
    source = TIFF(root=tmp_path, tile=16, range="type", empty=None).build("train")
    decoded = []
    decoder = tifffile.TiffPage.decode.func

    def counting(page):
        inner = decoder(page)
        return lambda data, at, **options: decoded.append(at) or inner(data, at, **options)

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(counting))
    source.load(9)
    assert decoded == [9]


def test_empty_tiles_are_left_out(tmp_path):
    raw = np.zeros((64, 64), np.uint16)
    raw[:16, 16:32] = values("uint16", (16, 16))
    raw[48:, 48:] = 1000
    raw[48, 48] = 1200
    write(tmp_path, "a.tif", raw, tile=(16, 16), compression="zlib")
    fields = {"tile": 16, "range": "type"}
    assert len(load(tmp_path, empty=None, **fields)[0]) == 16
    source, _ = load(tmp_path, **fields)
    assert [source.name(i) for i in range(len(source))] == ["a.tif row 0 column 16", "a.tif row 48 column 48"]
    assert len(load(tmp_path, empty=0.1, **fields)[0]) == 1


def test_glass_around_tissue_is_seen_in_the_smaller_copy(tmp_path, monkeypatch):
    slide = RNG.integers(235, 245, (512, 512, 3), dtype=np.uint8)
    slide[128:256, 128:384] = RNG.integers(60, 200, (128, 256, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        file.write(slide, subifds=1, tile=(64, 64), photometric="rgb", compression="zlib")
        file.write(slide[::4, ::4], subfiletype=1, photometric="rgb", compression="zlib")
    from sslkit_science.tiff_reader import TIFFReader

    reads = []
    read = TIFFReader.read
    monkeypatch.setattr(TIFFReader, "read", lambda *args: reads.append(args) or read(*args))
    source = TIFF(root=tmp_path, tile=128, empty=0.2, range="type").build("train")
    assert [source.name(i) for i in range(len(source))] == [
        "slide.tif row 128 column 128",
        "slide.tif row 128 column 256",
    ]
    assert len(reads) <= len(source), "only samples are read at full size"


def test_values_that_stand_for_none_are_black(tmp_path):
    raw = values("float32", (9, 8))
    raw[2, 3] = -9999
    write(tmp_path, "a.tif", raw, extratags=[(42113, "s", 0, "-9999", True)])
    _, (image,) = load(tmp_path)
    assert image[0, 2, 3] == 0
    raw[2, 3] = 0
    np.testing.assert_allclose(image[0].numpy(), raw, atol=1e-6)


def test_a_file_that_names_another_opens_it_not(tmp_path, monkeypatch):
    raw = values("uint16", (2, 9, 8))
    (tmp_path / "parts").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere", "b.ome.tif", raw, photometric="minisblack", metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "elsewhere" / "b.ome.tif") as file:
        text = file.ome_metadata
    identity = text.partition('UUID="')[2].partition('"')[0]
    place = f'<UUID FileName="../elsewhere/b.ome.tif">{identity}</UUID>'
    text = text.replace(identity, "urn:uuid:11111111-1111-1111-1111-111111111111", 1)
    named = text.replace('PlaneCount="2"/>', f'PlaneCount="2">{place}</TiffData>')
    assert place in named
    write(tmp_path / "parts", "a.ome.tif", raw[0], description=named, metadata=None)
    opened = []
    file_handle = tifffile.FileHandle.open
    monkeypatch.setattr(
        tifffile.FileHandle, "open", lambda self: (opened.append(self._file), file_handle(self))[1]
    )
    for image in load(tmp_path / "parts")[1]:
        np.testing.assert_array_equal(image.numpy(), raw[:1])
    assert {str(path) for path in opened} == {str(tmp_path / "parts" / "a.ome.tif")}


def test_what_cannot_be_read_names_its_file(tmp_path):
    write(tmp_path, "a.tif", values("uint16", (9, 8)))
    write(tmp_path, "b.tif", values("uint16", (40, 40)), compression="zlib")
    (tmp_path / "c.tif").write_bytes(b"no image")
    whole = (tmp_path / "b.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(whole[:1000])
    source = TIFF(root=tmp_path, range="type").build("train")
    names = [source.name(i) for i in range(len(source))]
    assert sorted(names) == ["a.tif", "b.tif", "c.tif"]
    for name in ("b.tif", "c.tif"):
        with pytest.raises(DataError, match=rf"{name}.*: cannot be read: "):
            source.load(names.index(name))
    assert tuple(source.load(names.index("a.tif")).shape) == (1, 9, 8)


def test_complex_numbers_are_refused(tmp_path):
    write(tmp_path, "a.tif", np.ones((9, 8), np.complex64))
    with pytest.raises(DataError, match=r"a\.tif: holds complex64; expected whole or real numbers"):
        load(tmp_path)


def test_other_channels_are_refused_with_the_field(tmp_path):
    write(tmp_path, "a.tif", values("uint8", (9, 8)))
    write(tmp_path, "b.tif", values("uint8", (9, 8, 3)), photometric="rgb")
    source = TIFF(root=tmp_path).build("train")
    with pytest.raises(DataError, match=r"b\.tif: has 3 channels, and these images are of 1; .*`bands`"):
        source.load(1)
    source, images = load(tmp_path, bands=(0,))
    assert [len(image) for image in images] == [1, 1]
    source, images = load(tmp_path, channels=3)
    assert [len(image) for image in images] == [3, 3]
    assert torch.equal(images[0][0], images[0][2])
    source = TIFF(root=tmp_path, bands=(2,), range="type").build("train")
    with pytest.raises(DataError, match=r"a\.tif: has 1 channels, counted from 0; bands names 2"):
        source.load(0)
    assert source.load(1).shape == (1, 9, 8)


def test_too_large_images_are_refused(tmp_path):
    write(tmp_path, "a.tif", values("uint8", (20, 30)))
    source = TIFF(root=tmp_path, max_pixels=500, range="type").build("train")
    with pytest.raises(DataError, match=r"a\.tif: has 30 x 20 pixels, more than max_pixels=500"):
        source.load(0)
    assert load(tmp_path, max_pixels=500, tile=16)[1][0].shape == (1, 16, 16)


def test_auto_refuses_what_would_be_black(tmp_path):
    raw = RNG.integers(0, 900, (9, 8), dtype=np.uint16)
    write(tmp_path, "a.tif", raw)
    with pytest.raises(DataError, match=r"range: .*0, 1023"):
        load(tmp_path)
    _, (image,) = load(tmp_path, range=(0, 900))
    np.testing.assert_allclose(image[0].numpy(), raw / 900, atol=1e-6)
    assert load(tmp_path, range="type")[1][0].dtype == torch.uint16


def test_the_test_split_has_the_ranges_and_classes_of_training(tmp_path):
    for split, scale in (("train", 1000), ("test", 3000)):
        for label in ("a", "b") if split == "train" else ("b",):
            raw = RNG.integers(0, scale, (9, 8), dtype=np.uint16)
            write(tmp_path / split / label, "0.tif", raw)
    spec = TIFF(root=tmp_path / "train", test=tmp_path / "test", range={"percentile": (0, 100)})
    train, test = spec.build("train"), spec.build("test")
    assert test.mapping == train.mapping
    assert (train.classes, test.classes) == (("a", "b"), ("a", "b"))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1], [1])
    assert TIFF(root=tmp_path / "train", range="type").build("test") is None


def test_a_source_pickles_and_reads_on(tmp_path):
    write(tmp_path, "a.tif", values("uint16", (20, 20)), tile=(16, 16), compression="zlib")
    source = TIFF(root=tmp_path).build("train")
    first = source.load(0)
    again = pickle.loads(pickle.dumps(source))
    assert torch.equal(again.load(0), first)
    assert again.fingerprint == source.fingerprint


def test_fingerprints_follow_content(tmp_path):
    raw = values("uint16", (2, 20, 20))
    write(tmp_path / "one", "a.tif", raw, photometric="minisblack")
    write(tmp_path / "two", "b.tif", raw, photometric="minisblack")
    write(tmp_path / "three", "a.tif", raw[::-1], photometric="minisblack")

    def fingerprint(folder, **fields):
        return TIFF(root=tmp_path / folder, range="type", **fields).build("train").fingerprint

    assert fingerprint("one") == fingerprint("two")
    assert fingerprint("one") != fingerprint("three")
    others = [{"pages": "channels"}, {"tile": 16}, {"bands": (0,)}, {"channels": 3}]
    assert len({fingerprint("one", **fields) for fields in [{}, *others]}) == 5
    source = TIFF(root=tmp_path / "one").build("train")
    assert len({row.tobytes() for row in source.digests()}) == 2


def test_fields_say_what_they_expect():
    with pytest.raises(SpecError, match="names the channel 1 twice"):
        TIFF(root="x", bands=(1, 1))
    with pytest.raises(SpecError, match="pages"):
        TIFF(root="x", pages="both")
