"""JPEG XL of more than 8 bits: its depth by the header, and all its values."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from sslkit.data.decoding.decode import Decoder
from sslkit.data.decoding.jpeg_xl import Depth, depth, is_deep_jpegxl, read_jpegxl
from sslkit.interfaces import to_float

SHAPES = [(8, 8), (30, 40), (7, 300, 3), (300, 257, 4), (64, 128, 3), (1, 1), (1000, 3, 3)]


def image(dtype: str, shape: tuple[int, ...], bits: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype == "float32":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, 1 << (bits or np.iinfo(dtype).bits), shape, dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("uint8", 8), ("uint16", 10), ("uint16", 12), ("uint16", 14), ("uint16", 16), ("float32", 32)],
)
def test_the_header_tells_the_depth(shape: tuple[int, ...], container: bool, dtype: str, bits: int) -> None:
    options = {"bitspersample": bits} if dtype == "uint16" else {}
    pixels = image(dtype, shape, bits)
    data = imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=container, **options)
    assert depth(data) == Depth(bits, dtype == "float32")
    assert is_deep_jpegxl(data) == (bits > 8)
    if bits > 8:
        raw = read_jpegxl(data)
        assert np.array_equal(raw.pixels, pixels.reshape(*shape[:2], -1).transpose(2, 0, 1))
        assert raw.high == (None if bits in (16, 32) else 2**bits - 1)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\x0a", b"\x89PNG\r\n\x1a\n" + bytes(80), b"\0\0\0\x0cJXL \r\n\x87\n"]
)
def test_other_files_are_not_deep(data: bytes) -> None:
    assert not is_deep_jpegxl(data)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_all_bits_arrive(bits: int, channels: int) -> None:
    pytest.importorskip("pillow_jxl")
    pixels = image("uint16", (9, 13, channels), bits)
    data = imagecodecs.jpegxl_encode(np.squeeze(pixels), lossless=True, bitspersample=bits)
    decoded = to_float(Decoder(channels)(data, "x"))
    np.testing.assert_allclose(decoded.numpy(), pixels.transpose(2, 0, 1) / (2**bits - 1), atol=1e-6)
    assert Decoder(channels).look(data, "x").high == (None if bits == 16 else 4095.0)
