import io

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.data.decoding.decode import Decoder
from sslkit.errors import DataError

RGB, GRAY = Decoder(3), Decoder(1)
COLORS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array)).reshape(*array.shape[:2], -1).permute(2, 0, 1)


def test_rgb_is_exact_and_laid_out_as_decoded():
    made = RGB(encode(Image.fromarray(COLORS)), "x")
    assert torch.equal(made, tensor(COLORS))
    assert made.permute(1, 2, 0).is_contiguous()


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_the_wanted_channels(mode, channels):
    image = Image.fromarray(COLORS).convert(mode)
    kind = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")
    made = Decoder(channels)(encode(image, kind), "x")
    assert torch.equal(made, tensor(np.asarray(image.convert("L" if channels == 1 else "RGB"))))


def test_gray_fills_three_channels_equally():
    gray = COLORS[..., 0]
    made = RGB(encode(Image.fromarray(gray)), "x")
    assert torch.equal(made, tensor(gray).expand(3, -1, -1))


def test_alpha_is_dropped_not_blended():
    alpha = np.zeros((6, 9, 1), dtype=np.uint8)
    made = RGB(encode(Image.fromarray(np.concatenate([COLORS, alpha], -1))), "x")
    assert torch.equal(made, tensor(COLORS))


def test_a_palette_with_transparency_needs_no_warning():
    image = Image.fromarray(COLORS).quantize(8)
    made = RGB(encode(image, transparency=bytes([0, 128, 255])), "x")
    assert torch.equal(made, tensor(np.asarray(image.convert("RGB"))))


def test_cmyk_jpeg_is_read_in_color():
    red = Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK")
    made = RGB(encode(red, "JPEG", quality=95), "x").float().mean((1, 2))
    assert made[0] > 230
    assert made[1] < 30
    assert made[2] < 30


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_keeps_its_bits(kind):
    levels = np.array([[0, 257, 32896, 65535, 128, 129]], dtype=np.uint16)
    data = encode(Image.fromarray(levels), kind)
    assert torch.equal(GRAY(data, "x"), torch.from_numpy(levels)[None])
    assert torch.equal(RGB(data, "x"), torch.from_numpy(levels).expand(3, -1, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    """Turned back from what a camera stores, the image is upright again."""
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)  # fmt: skip
    upright = Image.fromarray(COLORS)
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(RGB(encode(stored, exif=exif), "x"), tensor(COLORS))


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_damaged_exif_beside_good_pixels_is_ignored(exif):
    assert torch.equal(RGB(encode(Image.fromarray(COLORS), exif=exif), "x"), tensor(COLORS))


def test_the_first_frame_counts():
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    assert GRAY(
        encode(frames[0], "TIFF", save_all=True, append_images=frames[1:]), "x"
    ).unique().tolist() == [10]


@pytest.mark.parametrize(
    ("mode", "channels", "expected"),
    [
        ("L", 3, "RGB"),
        ("RGB", 1, "L"),
        ("P", 3, "RGB"),
        ("RGBA", 3, "RGB"),
        ("CMYK", 3, "RGB"),
    ],
)
def test_without_convert_another_mode_is_an_error_that_names_all(mode, channels, expected):
    data = encode(Image.fromarray(COLORS).convert(mode), "TIFF")
    with pytest.raises(DataError) as error:
        Decoder(channels, convert=False)(data, "cat/1.tif")
    for part in ("cat/1.tif", f" {mode} image", expected, f"channels: {channels}", "convert: true"):
        assert part in str(error.value)


def test_without_convert_gray_of_16_bits_is_gray():
    data = encode(Image.fromarray(COLORS[..., 0].astype(np.uint16)), "TIFF")
    assert Decoder(1, convert=False)(data, "x").dtype == torch.uint16
    with pytest.raises(
        DataError, match=r"is an image of gray \(uint16\), .* `channels: 3` .*`convert: true`"
    ):
        Decoder(3, convert=False)(data, "x")


def test_without_convert_the_right_mode_passes():
    assert Decoder(1, convert=False)(encode(Image.fromarray(COLORS[..., 0])), "x").shape == (1, 6, 9)


def big_jpeg() -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return encode(Image.fromarray(noise), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"this is text, not a picture", "not an image in a known format"),
        (big_jpeg()[:20], r"\w+"),
        (big_jpeg()[: len(big_jpeg()) // 2], "truncated"),
        (encode(Image.fromarray(COLORS))[:60], r"\w+"),
        (encode(Image.fromarray(COLORS), "WEBP")[:40], r"\w+"),
        (encode(Image.fromarray(COLORS)).replace(b"IDAT", b"IDAX"), r"\w+"),
    ],
    ids=["empty", "text", "jpeg header", "half a jpeg", "png header", "webp header", "damaged png"],
)
def test_damaged_images_are_named_with_the_reason(data, reason):
    with pytest.raises(DataError, match=rf"^a/b\.jpg: cannot be decoded: .*{reason}") as error:
        RGB(data, "a/b.jpg")
    assert "0x" not in str(error.value)
    assert error.value.__suppress_context__
