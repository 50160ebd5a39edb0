"""What decoding costs: whole JPEG photographs against shrunk ones, and 16-bit files against 8-bit ones.

    OMP_NUM_THREADS=1 python benchmarks/decode.py [--images 4] [--rounds 3]

JPEG of 12 megapixels, made here, whole and with `shrink: 448` (twice a crop of 224 pixels); then PNG and TIFF of
512 x 512 pixels with 8 and 16 bits. Every figure is a median of processor time per image.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time

import numpy as np
import tifffile
from PIL import Image

import sslkit  # noqa: F401  the plugins are loaded with it
from sslkit_sources.decode import Decoder


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


def tiles(dtype: str, kind: str, count: int) -> list[bytes]:
    """Gray or color files of 512 x 512 pixels."""
    rng = np.random.default_rng(1)
    files = []
    for _ in range(count):
        buffer = io.BytesIO()
        coarse = rng.random((512, 512, 3)).cumsum(0) / 512
        image = (coarse * np.iinfo(dtype).max).astype(dtype)
        if kind == "TIFF":
            tifffile.imwrite(buffer, image, photometric="rgb", compression="zlib")
        else:
            Image.fromarray(image[..., 0]).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def milliseconds(decoder: Decoder, files: list[bytes], rounds: int) -> float:
    """Median processor time of an image."""
    times = []
    for _ in range(rounds):
        for data in files:
            begin = time.process_time()
            decoder(data, "image")
            times.append(1000 * (time.process_time() - begin))
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    photos = photographs(args.images)
    for name, decoder in (("whole", Decoder(3)), ("shrink: 448", Decoder(3, shrink=448))):
        print(f"JPEG, 12 megapixels, {name:12} {milliseconds(decoder, photos, args.rounds):8.1f} ms")
    for kind, channels in (("PNG", 1), ("TIFF", 3)):
        for dtype in ("uint8", "uint16"):
            files = tiles(dtype, kind, args.images)
            cost = milliseconds(Decoder(channels), files, args.rounds * 5)
            print(f"{kind}, 512 x 512 x {channels}, {dtype:16} {cost:8.2f} ms")


if __name__ == "__main__":
    main()
