"""What hashing the content of a folder costs, beside the first epoch of a run on it.

    python benchmarks/fingerprint.py [--images 10000] [--size 500 375] [--root FOLDER] [--workers 2]

Makes a folder of JPEGs (or takes one), trains a small vision transformer on it for one epoch of 224-pixel crops, and
times three things in turn: the first fingerprint, with nothing kept; the second, from what was kept; and the epoch,
decoding included. The operating system has the files in memory in all three.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from sslkit.data.content_hash import UNSETTLED, VARIABLE
from sslkit.specs.load import parse
from sslkit.train.launch import train

VIT = {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 16, "width": 64, "depth": 2, "heads": 2}
VIEW = {"size": 224, "augment": [{"kind": "random_resized_crop"}, {"kind": "flip"}]}


def picture(seed: int, width: int, height: int) -> Image.Image:
    """Smooth shapes under some noise, which JPEG stores in about as many bytes as a photograph."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray((smooth + random.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8))


def write(root: Path, size: tuple[int, int], index: int) -> None:
    """One image of one of ten classes."""
    picture(index, *size).save(root / f"class{index % 10}" / f"{index:06d}.jpg", quality=85)


def make(root: Path, count: int, size: tuple[int, int]) -> Path:
    """The folder."""
    for i in range(10):
        (root / f"class{i}").mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(write, root, size), range(count)))
    return root


def fingerprint(root: Path) -> float:
    """Seconds that the fingerprint takes in a source that was just opened."""
    spec = parse(fields(root, Path("unused"), 0)).data
    source = spec.build("train")
    assert source is not None
    began = time.perf_counter()
    assert source.fingerprint
    return time.perf_counter() - began


def fields(root: Path, out: Path, workers: int) -> dict[str, object]:
    """A run of one epoch."""
    return {
        "data": {"kind": "folder", "root": str(root)}, "views": {"global": VIEW}, "backbone": VIT,
        "objective": {"kind": "mae", "decoder": {"width": 32, "depth": 1, "heads": 2}},
        "batch_size": 100, "epochs": 1, "workers": workers, "resident": "0 GiB", "device": "cpu",
        "log": {"flops": False}, "out": str(out),
    }  # fmt: skip


def main() -> None:
    """Print the ratios of each round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--root", type=Path, help="a folder of images to take instead")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or make(Path(folder) / "images", args.images, (args.size[0], args.size[1]))
        sizes = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
        print(f"{len(sizes):,} files, {sum(sizes) / 2**20:,.0f} MiB, {args.workers} workers")
        time.sleep(UNSETTLED / 1e9)
        for round_ in range(args.rounds):
            os.environ[VARIABLE] = str(Path(folder) / f"cache{round_}")
            first, second = fingerprint(root), fingerprint(root)
            out = Path(folder) / f"run{round_}"
            epoch = train(parse(fields(root, out, args.workers)), say=lambda _: None)["seconds"]
            print(
                f"first fingerprint {first:6.2f} s ({first / epoch:6.2%} of the epoch)   "
                f"second {second:6.3f} s ({second / epoch:6.2%})   first epoch {epoch:6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
