"""What decoding costs: whole JPEG photographs against shrunk ones, and 16-bit files against 8-bit ones.

    OMP_NUM_THREADS=1 python benchmarks/decode.py [--images 16] [--rounds 9]

JPEG of 12 megapixels, made here, whole and with `shrink: 448` (twice a crop of 224 pixels). Then two random resized
crops of 224 pixels, from the file to the normalized tensor that the network reads: pictures of 512 x 512 pixels with
noise of 1.6 % in 16 bits, against their high bytes in the same container, in turns. Every figure is a median of
processor time per image; ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import io
import statistics
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

import sslkit  # noqa: F401  the plugins are loaded with it
from sslkit.core.context import View
from sslkit.data.crops import Pipeline
from sslkit.data.decoding.decode import Decoder
from sslkit.specs.load import parse_as
from sslkit.specs.views import ViewSpec

SIDE = 512
WARM = 12
"""Rounds that do not count: kernels are compiled in them."""
VIEW = {"size": 224, "crops": 2, "augment": [{"kind": "random_resized_crop"}, {"kind": "flip"}]}
TIFFS: dict[str, dict[str, object]] = {
    "TIFF": {},
    "TIFF, deflate": {"compression": "zlib", "predictor": True},
    "TIFF, LZW": {"compression": "lzw", "predictor": True},
}
Picture = NDArray[np.generic]


class Kind(NamedTuple):
    """A container, with the same pictures in 16 bits and in 8."""

    name: str
    channels: int
    encoded: Callable[[Picture], bytes]


def photographs(count: int) -> list[bytes]:
    """JPEG files of 4,000 x 3,000 pixels: smooth shapes with some noise, as photographs have."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((4000, 3000), Image.Resampling.BICUBIC)).astype(
            np.int16
        )
        noisy = (image + rng.integers(-12, 13, image.shape, dtype=np.int16)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def picture(seed: int) -> NDArray[np.uint16]:
    """`[SIDE, SIDE, 3]`: smooth shapes with some noise, whose low bytes hardly shrink."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64) * 256
    noisy = smooth + rng.normal(0, 4 * 256, smooth.shape)
    return noisy.clip(0, 65535).astype(np.uint16)


def tiff(image: Picture, **options: object) -> bytes:
    """A color TIFF."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, **{"photometric": "rgb", **options})
    return buffer.getvalue()


def color_png(image: Picture) -> bytes:
    """A PNG with the filters that libpng chooses."""
    return bytes(imagecodecs.png_encode(image))


def gray_png(image: Picture) -> bytes:
    """The first channel."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


def kinds() -> list[Kind]:
    """All containers that are compared."""
    tiffs = [Kind(f"{name}, color", 3, lambda x, o=o: tiff(x, **o)) for name, o in TIFFS.items()]
    return [*tiffs, Kind("PNG, color", 3, color_png), Kind("PNG, gray", 1, gray_png)]


def spent(work: Callable[[], object]) -> float:
    """Milliseconds of processor time."""
    begin = time.process_time()
    work()
    return 1000 * (time.process_time() - begin)


def decoding(decoder: Decoder, files: Sequence[bytes], rounds: int) -> float:
    """Median milliseconds of an image."""
    return statistics.median(spent(lambda: decoder(data, "image")) for _ in range(rounds) for data in files)  # noqa: B023


class Cost(NamedTuple):
    """What the same pictures cost in 8 and in 16 bits, from file to the tensor that the network reads."""

    low: float
    """Median milliseconds of processor time of an image of 8 bits."""
    high: float
    """The same of 16 bits."""
    ratio: float
    """Median over the rounds of how many images of 16 bits are done in the time of one of 8."""


def compared(kind: Kind, count: int, rounds: int) -> Cost:
    """Both kinds of files in turns."""
    spec = parse_as(ViewSpec, VIEW)
    views = {"global": View(224, 2, kind.channels, (0.5,) * kind.channels, (0.2,) * kind.channels)}
    pipeline, decoder = Pipeline({"global": spec}, views, 0), Decoder(kind.channels)
    pictures = [picture(seed) for seed in range(count)]
    deep = [kind.encoded(image) for image in pictures]
    files = [kind.encoded((image >> 8).astype(np.uint8)) for image in pictures]

    def batch(files: Sequence[bytes], step: int) -> float:
        images = (decoder(data, "image") for data in files)
        rows = torch.arange(count)
        return spent(lambda: pipeline.rest(pipeline.first(list(images), step, rows), step, rows)) / count

    times = [(batch(files, step), batch(deep, step)) for step in range(rounds + WARM)][WARM:]
    medians = (statistics.median(column) for column in zip(*times, strict=True))
    return Cost(*medians, statistics.median(low / high for low, high in times))


def inflating(data: bytes, rounds: int) -> float:
    """Milliseconds that libdeflate takes for the data of a PNG alone: no decoder can be quicker."""
    at, chunks = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            chunks.append(data[at + 8 : at + 8 + length])
        at += 12 + length
    stream = b"".join(chunks)
    size = len(zlib.decompress(stream))
    return statistics.median(
        spent(lambda: imagecodecs.deflate_decode(stream, out=size)) for _ in range(rounds)
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    for kind in kinds():
        low, high, ratio = compared(kind, args.images, args.rounds)
        print(f"{kind.name:22} 8 bits {low:6.2f} ms   16 bits {high:6.2f} ms   images/s x {ratio:.2f}")
    deep = inflating(color_png(picture(0)), args.rounds)
    print(f"PNG, color: to inflate the 16-bit data alone, by libdeflate {deep:.2f} ms")
    photos = photographs(4)
    for name, decoder in (("whole", Decoder(3)), ("shrink: 448", Decoder(3, shrink=448))):
        print(f"JPEG, 12 megapixels, {name:12} {decoding(decoder, photos, 3):8.1f} ms")


if __name__ == "__main__":
    main()
