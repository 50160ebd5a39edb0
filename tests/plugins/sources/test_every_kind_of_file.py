"""Every pixel type, layout and container arrives with the values that numpy wrote."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from sslkit.data.decoding.decode import Decoder
from sslkit.errors import DataError
from sslkit.interfaces import PixelRange, to_float
from tests.plugins.sources.files_of_every_kind import CASES, Case, hwc, pil, png16, pnm, tiff, unit, values

TYPES = {torch.uint8, torch.uint16, torch.int16, torch.float32}


def test_there_are_many_kinds() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_values_that_were_written_arrive(case: Case) -> None:
    image = Decoder(**case.fields)(case.data, case.name)
    assert image.dtype in TYPES
    assert image.shape == case.expected.shape
    np.testing.assert_allclose(to_float(image).double().numpy(), case.expected, rtol=0, atol=case.tolerance)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16"])
def test_types_that_fit_are_passed_on_in_their_bits(kind: str) -> None:
    image = values(kind, 1)
    decoded = Decoder(1)(tiff(image[0]), "x")
    assert decoded.numpy().dtype == kind
    assert np.array_equal(decoded.numpy(), image)


@pytest.mark.parametrize(("photometric", "flip"), [("minisblack", False), ("miniswhite", True)])
def test_a_range_is_of_the_stored_values_whatever_is_bright(photometric: str, flip: bool) -> None:
    image = values("uint16", 1) >> 4
    decoder = Decoder(1, pixel_range=PixelRange((0.0,), (4095.0,)))
    decoded = decoder(tiff(image[0], photometric=photometric), "x").numpy()
    np.testing.assert_allclose(decoded, 1 - image / 4095 if flip else image / 4095, atol=1e-6)


def test_a_range_serves_8_bit_images_too() -> None:
    image = values("uint8", 1) // 2
    decoded = Decoder(1, pixel_range=PixelRange((0.0,), (127.0,)))(pil(image[0], "PNG"), "x")
    np.testing.assert_allclose(decoded.numpy(), image / 127, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "fields", "words"),
    [
        (tiff(hwc(values("uint16", 5)), photometric="minisblack", planarconfig="contig"), {"channels": 3},
         r"5 bands \(uint16\).*`channels: 3`.*`channels: 5`.*`bands: \[\.\.\]`"),
        (tiff(values("uint16", 2)), {"channels": 4}, r"gray \(uint16, 2 planes in all\).*`channels: 4`"),
        (pil(hwc(values("uint8", 3)), "PNG"), {"channels": 4}, r"color \(uint8\).*`channels: 4`.*`channels: 3`"),
        (tiff(values("uint16", 3)), {"channels": 1, "bands": (3,)}, r"no band 3; it has 3, from 0"),
        (tiff(values("uint16", 3)), {"channels": 1, "bands": ("nir",)}, r"no band 'nir'.*without names"),
    ],
    ids=["five bands", "two pages", "no infrared", "no fourth band", "no names"],
)  # fmt: skip
def test_other_channels_are_refused_with_what_to_write(
    data: bytes, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(DataError, match=rf"^field/7: .*{words}"):
        Decoder(**fields)(data, "field/7")


@pytest.mark.parametrize(
    "data",
    [
        tiff(values("uint16", 3))[:150],
        tiff(values("float32", 1)[0])[:-20],
        png16(hwc(values("uint16", 3)))[:-40],
        pnm(hwc(values("uint16", 3)), 4095)[:-1],
        b"II*\0 and nothing else",
    ],
    ids=["header", "strip", "png", "pnm", "no tags"],
)
def test_damaged_deep_files_are_named(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^a/b\.tif: cannot be decoded: "):
        Decoder(3)(data, "a/b.tif")


def test_large_images_are_refused_before_they_are_decoded() -> None:
    for data in (
        tiff(values("float32", 1)[0]),
        png16(hwc(values("uint16", 3))),
        pnm(hwc(values("uint16", 3)), 4095),
    ):
        with pytest.raises(DataError, match=r"has 7 x 5 pixels, more than max_pixels=34"):
            Decoder(3, max_pixels=34)(data, "x")
    many = tiff(values("uint16", 40), photometric="minisblack")
    with pytest.raises(DataError, match=r"7 x 5 pixels with 40 values each, more than max_pixels=300"):
        Decoder(40, max_pixels=300)(many, "x")
    assert Decoder(1, max_pixels=300)(many, "x").shape == (1, 5, 7), "the first page alone is small"


@pytest.mark.parametrize(
    ("shrink", "shape"), [(None, (120, 168)), (100, (120, 168)), (60, (60, 84)), (16, (30, 42))]
)
def test_jpegs_are_shrunk_no_further_than_asked(shrink: int | None, shape: tuple[int, int]) -> None:
    image = np.kron(values("uint8", 3), np.ones((1, 24, 24), np.uint8))
    decoded = Decoder(3, shrink=shrink)(pil(hwc(image), "JPEG", quality=95), "x")
    assert decoded.shape == (3, *shape)


def test_only_settings_that_change_values_count_in_the_fingerprint() -> None:
    assert Decoder(3).settings() == ()
    assert Decoder(3, max_pixels=5, max_metadata=7).settings() == ()
    changes = ({"bands": (0, 1, 2)}, {"alpha": "composite"}, {"shrink": 64}, {"deep": True})
    changes += ({"pixel_range": PixelRange((0.0,), (9.0,))},)
    assert len({Decoder(3, **change).settings() for change in changes}) == 5


def test_large_texts_of_png_have_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import PngImagePlugin

    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1000)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 64000)
    texts, file = PngImagePlugin.PngInfo(), io.BytesIO()
    texts.add_text("about", "x" * 5000, zip=True)
    image = Image.fromarray(hwc(values("uint8", 3)))
    image.save(file, "PNG", pnginfo=texts)
    with pytest.raises(DataError, match=r"^x: cannot be decoded: .*`max_metadata`"):
        Decoder(3, max_metadata=1000)(file.getvalue(), "x")
    assert np.array_equal(Decoder(3, max_metadata=6000)(file.getvalue(), "x").numpy(), values("uint8", 3))
    assert unit(values("uint8", 3)).max() == 1


@pytest.mark.parametrize("kind", ["none", "zlib", "lzw"])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_channels_lie_side_by_side_as_they_are_stored(kind: str, dtype: str) -> None:
    """A copy by planes costs as much as a crop, and crops would undo it."""
    image = hwc(values(dtype, 3))
    compression = None if kind == "none" else kind
    decoded = Decoder(3)(tiff(image, photometric="rgb", compression=compression), "x")
    assert decoded.stride() == (1, 3 * image.shape[1], 3)
    assert np.array_equal(decoded.numpy(), image.transpose(2, 0, 1))


def test_channels_of_deep_pngs_lie_side_by_side() -> None:
    image = hwc(values("uint16", 3))
    assert Decoder(3)(png16(image), "x").stride() == (1, 3 * image.shape[1], 3)


@pytest.mark.parametrize("kind", ["zlib", "lzw"])
def test_compressed_tiffs_are_unpacked_by_libtiff(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes half of tifffile's time; what tifffile alone reads, such as several pages, stays with it."""
    calls: list[object] = []
    decode = imagecodecs.tiff_decode
    monkeypatch.setattr(
        imagecodecs, "tiff_decode", lambda data, **options: calls.append(data) or decode(data, **options)
    )
    image = values("uint16", 3)
    one, pages = tiff(hwc(image), photometric="rgb", compression=kind), tiff(image, compression=kind)
    plain = tiff(hwc(image), photometric="rgb")
    for channels, data in ((3, one), (3, pages), (3, plain)):
        assert np.array_equal(
            Decoder(channels)(data, "x").numpy(), image if data != pages else image[:1].repeat(3, 0)
        )
    assert calls == [one, pages]
    assert np.array_equal(Decoder(2, bands=(2, 0))(pages, "x").numpy(), image[[2, 0]])
    assert calls == [one, pages], "all pages are read by tifffile"


def test_what_libtiff_refuses_is_read_by_tifffile(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no libtiff")

    monkeypatch.setattr(imagecodecs, "tiff_decode", refuse)
    image = values("uint16", 3)
    data = tiff(hwc(image), photometric="rgb", compression="lzw")
    assert np.array_equal(Decoder(3)(data, "x").numpy(), image)


def with_exif(png: bytes, orientation: int, *, last: bool) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    at = len(png) - 12 if last else 33  # before the end, or behind the header
    return png[:at] + chunk + png[at:]


@pytest.mark.parametrize("last", [False, True])
def test_deep_pngs_are_turned_upright(last: bool) -> None:
    image = values("uint16", 3)
    decoded = Decoder(3)(with_exif(png16(hwc(image)), 6, last=last), "x")
    assert np.array_equal(decoded.numpy(), np.rot90(image, -1, (1, 2)))


def test_deep_pngs_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for the EXIF orientation, PIL decodes a PNG to its end, which took as long again."""
    loads: list[object] = []
    load = PngImagePlugin.PngImageFile.load
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: loads.append(1) or load(self))
    image = values("uint16", 3)
    assert np.array_equal(Decoder(3)(png16(hwc(image)), "x").numpy(), image)
    assert not loads
