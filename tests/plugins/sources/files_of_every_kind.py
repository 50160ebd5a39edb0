"""Small image files of every pixel type, layout and container, with the values that must arrive."""

from __future__ import annotations

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 5, 7
TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")


class Case(NamedTuple):
    """One file and how it is read."""

    name: str
    data: bytes
    fields: dict[str, object]
    """Of the decoder."""
    expected: np.ndarray
    """`[C, H, W]`, float64 in [0, 1]."""
    tolerance: float = 1e-6


def values(dtype: str, channels: int, seed: int = 0) -> np.ndarray:
    """`[C, H, W]` over the whole of a type's range."""
    rng = np.random.default_rng(seed)
    shape = (channels, HEIGHT, WIDTH)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    limits = np.iinfo(dtype)
    image = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    image[:, 0, 0], image[:, 0, 1] = limits.min, limits.max
    return image


def unit(image: np.ndarray) -> np.ndarray:
    """By type to [0, 1]."""
    wide = image.astype(np.float64)
    if image.dtype.kind == "f":
        return wide
    limits = np.iinfo(image.dtype)
    return (wide - limits.min) / (float(limits.max) - limits.min)


def tiff(image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, image, **{"photometric": "minisblack", **options})
    return file.getvalue()


def pil(image: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def png16(image_HWC: np.ndarray) -> bytes:
    """A PNG of 16 bits, 1 to 4 samples a pixel."""
    color = {1: 0, 2: 4, 3: 2, 4: 6}[image_HWC.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image_HWC)
    header = struct.pack(">IIBBBBB", image_HWC.shape[1], image_HWC.shape[0], 16, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def pnm(image_HWC: np.ndarray, high: int) -> bytes:
    kind = 5 if image_HWC.shape[2] == 1 else 6
    header = f"P{kind}\n# a comment\n{image_HWC.shape[1]} {image_HWC.shape[0]}\n{high}\n".encode()
    return header + image_HWC.astype(">u2").tobytes()


def hwc(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def tiffs_of_types() -> list[Case]:
    """Every type in every layout."""
    cases = []
    for dtype in TYPES:
        one, three, four, five = (values(dtype, count, count) for count in (1, 3, 4, 5))
        seven = 3e-4 if dtype == "float16" else 1e-6
        cases += [
            Case(f"{dtype} gray", tiff(one[0]), {"channels": 1}, unit(one), seven),
            Case(f"{dtype} gray as color", tiff(one[0]), {"channels": 3}, unit(one).repeat(3, 0), seven),
            Case(
                f"{dtype} white is zero",
                tiff(one[0], photometric="miniswhite"),
                {"channels": 1},
                1 - unit(one),
                seven,
            ),
            Case(f"{dtype} RGB", tiff(hwc(three), photometric="rgb"), {"channels": 3}, unit(three), seven),
            Case(
                f"{dtype} RGB in planes",
                tiff(three, photometric="rgb", planarconfig="separate"),
                {"channels": 3},
                unit(three),
                seven,
            ),
            Case(
                f"{dtype} near infrared as an extra sample",
                tiff(hwc(four), photometric="rgb", extrasamples=["unspecified"]),
                {"channels": 4},
                unit(four),
                seven,
            ),
            Case(
                f"{dtype} near infrared as alpha",
                tiff(hwc(four), photometric="rgb", extrasamples=["unassalpha"]),
                {"channels": 4},
                unit(four),
                seven,
            ),
            Case(
                f"{dtype} five bands",
                tiff(hwc(five), planarconfig="contig"),
                {"channels": 5},
                unit(five),
                seven,
            ),
            Case(
                f"{dtype} five planes",
                tiff(five, planarconfig="separate"),
                {"channels": 3, "bands": (4, 0, 2)},
                unit(five)[[4, 0, 2]],
                seven,
            ),
            Case(f"{dtype} five pages", tiff(five), {"channels": 5}, unit(five), seven),
        ]
    return cases


def special_tiffs() -> list[Case]:
    """Compressions, orders of bytes, packed bits, stacks and names."""
    deep, real, two = values("uint16", 3), values("float32", 1), values("uint16", 2)
    twelve, four, large = values("uint16", 1) >> 4, values("uint16", 4), np.tile(deep, (1, 8, 8))
    rgb = {"photometric": "rgb"}
    cases = [
        Case(
            f"{kind}, {'predictor' if predictor else 'no predictor'}",
            tiff(hwc(deep), compression=kind, predictor=predictor, **rgb),
            {"channels": 3},
            unit(deep),
        )
        for kind in ("zlib", "lzw", "packbits", "lzma", "zstd")
        for predictor in (False, True)
    ]
    cases += [
        Case("float with a predictor", tiff(real[0], compression="lzw", predictor=True), {"channels": 1}, unit(real)),
        Case("big endian", tiff(hwc(deep), byteorder=">", **rgb), {"channels": 3}, unit(deep)),
        Case("BigTIFF", tiff(hwc(deep), bigtiff=True, **rgb), {"channels": 3}, unit(deep)),
        Case("tiles", tiff(hwc(large), tile=(16, 16), **rgb), {"channels": 3}, unit(large)),
        Case("two bands", tiff(hwc(two), planarconfig="contig"), {"channels": 2}, unit(two)),
        Case("12 bits packed", tiff(twelve[0], bitspersample=12), {"channels": 1}, twelve / 4095),
        Case("ImageJ channels", tiff(four, imagej=True, metadata={"axes": "CYX"}), {"channels": 4}, unit(four)),
        Case(
            "OME channels by name",
            tiff(four, ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["a", "b", "c", "d"]}}),
            {"channels": 2, "bands": ("d", "a")},
            unit(four)[[3, 0]],
        ),
        Case(
            "orientation",
            tiff(deep[0], extratags=[(274, 3, 1, 6, True)]),
            {"channels": 1},
            unit(np.rot90(deep[:1], -1, (1, 2))),
        ),
    ]  # fmt: skip
    return cases


def other_containers() -> list[Case]:
    """PNG, PNM, JPEG 2000 and 8-bit files."""
    cases = []
    for count in (1, 2, 3, 4):
        image = values("uint16", count)
        cases.append(Case(f"PNG of 16 bits, {count}", png16(hwc(image)), {"channels": count}, unit(image)))
    for count in (1, 3):
        image = values("uint16", count) >> 4
        cases += [
            Case(f"PNM up to 4095, {count}", pnm(hwc(image), 4095), {"channels": count}, image / 4095),
            Case(f"PNM up to 65535, {count}", pnm(hwc(image), 65535), {"channels": count}, image / 65535),
        ]
    deep, colors = values("uint16", 3), values("uint8", 3)
    gray16, rgba = values("uint16", 1), values("uint8", 4)
    alpha, opaque = rgba[3:] / 255, np.ones((1, HEIGHT, WIDTH))
    large, deep_rgba = np.tile(gray16, (1, 8, 8)), values("uint16", 4)
    over_white = unit(deep_rgba)[:3] * unit(deep_rgba)[3:] + 1 - unit(deep_rgba)[3:]
    opaque = np.concatenate([unit(colors), opaque])
    png, channel, composite = pil(hwc(rgba), "PNG"), {"alpha": "channel"}, {"alpha": "composite"}
    luma = np.tensordot([0.299, 0.587, 0.114], unit(deep), 1)[None]
    cases += [
        Case("JPEG 2000 of 16 bits", pil(large[0], "JPEG2000"), {"channels": 1}, unit(large)),
        Case("RGB of 16 bits as gray", png16(hwc(deep)), {"channels": 1}, luma, 1e-5),
        Case("PNG of 8 bits", pil(hwc(colors), "PNG"), {"channels": 3}, unit(colors)),
        Case("WebP", pil(hwc(colors), "WEBP", lossless=True), {"channels": 3}, unit(colors)),
        Case("BMP", pil(hwc(colors), "BMP"), {"channels": 3}, unit(colors)),
        Case("alpha dropped", png, {"channels": 3}, unit(rgba[:3])),
        Case("alpha as a channel", png, {"channels": 4, **channel}, unit(rgba)),
        Case("no alpha as a channel", pil(hwc(colors), "PNG"), {"channels": 4, **channel}, opaque),
        Case("alpha over white", png, {"channels": 3, **composite}, unit(rgba[:3]) * alpha + 1 - alpha, 2e-3),
        Case("alpha of 16 bits over white", png16(hwc(deep_rgba)), {"channels": 3, **composite}, over_white, 1e-5),
        Case("bands of color", pil(hwc(colors), "PNG"), {"channels": 2, "bands": (2, 0)}, unit(colors)[[2, 0]]),
    ]  # fmt: skip
    return cases


CASES = [*tiffs_of_types(), *special_tiffs(), *other_containers()]
