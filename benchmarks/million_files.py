"""What many files cost: the start of a run on hard links to 40 small images, and memory of a worker over 200,000.

    python benchmarks/million_files.py [--files 100000 1000000] [--folder /tmp] [--samples 200000]

Each start is a process of its own that makes one step: cold, with nothing kept, and warm, from what the first kept. The
operating system knows the files in both. Then one worker decodes many images, and the memory of both processes (PSS) is
read ten times; the slope is by least squares over the last nine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from sslkit.core.source import Source
from sslkit.data.content_hash import UNSETTLED
from sslkit.data.decoding_workers import Loading, batches
from sslkit.specs.load import parse

IMAGES, PER_FOLDER, BATCH = 40, 1000, 100
VIT = {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 4, "width": 16, "depth": 1, "heads": 2}


def links(root: Path, count: int) -> Path:
    """A folder of `count` links in class folders of 1,000."""
    seeds = root.with_name(f"{root.name}.images")
    seeds.mkdir()
    for i in range(IMAGES):
        coarse = np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC).save(seeds / f"{i}.jpg")
    source = os.open(seeds, os.O_RDONLY)
    for start in range(0, count, PER_FOLDER):
        folder = root / f"n{start // PER_FOLDER:06d}"
        folder.mkdir(parents=True)
        target = os.open(folder, os.O_RDONLY)
        for i in range(start, min(start + PER_FOLDER, count)):
            os.link(f"{i % IMAGES}.jpg", f"{i:08d}.JPEG", src_dir_fd=source, dst_dir_fd=target)
        os.close(target)
    os.close(source)
    time.sleep(UNSETTLED / 1e9)
    return root


def fields(root: Path, out: Path) -> dict[str, object]:
    """A run of one step."""
    return {
        "data": {"kind": "folder", "root": str(root)}, "views": {"global": {"size": 8}}, "backbone": VIT,
        "objective": {"kind": "mae", "decoder": {"width": 16, "depth": 1, "heads": 2}},
        "batch_size": 32, "steps": 1, "workers": 0, "resident": "0 GiB", "device": "cpu",
        "log": {"flops": False}, "out": str(out),
    }  # fmt: skip


def start(root: Path, folder: Path, name: str) -> tuple[float, float]:
    """Seconds by the clock and of processor time, imports included."""
    spec = folder / f"{name}.yaml"
    spec.write_text(yaml.safe_dump(fields(root, folder / name)))
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-m", "sslkit", "run", str(spec)], check=True, capture_output=True)
    wall, after = time.perf_counter() - began, os.times()
    return wall, sum(after[2:4]) - sum(before[2:4])


class Images(Dataset[Tensor]):
    """A source as torch reads it."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, index: int) -> Tensor:
        return self.source.load(index)


def memory(source: Source, samples: int) -> Iterator[tuple[int, float]]:
    """(samples, MiB) of this process and one worker, what both share counted once."""
    plan = (
        np.random.default_rng(at).integers(0, len(source), BATCH).tolist() for at in range(0, samples, BATCH)
    )
    for number, _ in enumerate(batches(Images(source), plan, len, Loading(1, "batch_size")), start=1):
        if number * BATCH % (samples // 10) == 0:
            (worker,) = multiprocessing.active_children()
            texts = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in ("self", worker.pid)]
            sizes = [re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[0] for text in texts]
            yield number * BATCH, sum(map(int, sizes)) / 1024


def main() -> None:
    """Print a line for each start, and the memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="on the disk where links are to be made")
    parser.add_argument("--samples", type=int, default=200_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        os.environ["SSLKIT_CACHE"] = str(folder / "cache")
        for count in (1000, *args.files):  # the first for imports alone
            root = links(folder / f"files{count}", count)
            for kind in ("cold", "warm"):
                wall, processor = start(root, folder, f"{kind}{count}")
                print(f"{count:9,} files, {kind}: {wall:6.1f} s, {processor:5.1f} s of a core", flush=True)
        source = parse(fields(root, folder)).data.build("train")
        assert source is not None
        seen = list(memory(source, args.samples))
        number, size = np.array(seen[1:]).T
        slope = np.polyfit(number / 1e5, size, 1)[0]
        print(
            f"memory of a process and its worker: {seen[0][1]:.1f} MiB at first, {seen[-1][1]:.1f} at the end, "
            f"{slope:+.2f} MiB in 100,000 images"
        )


if __name__ == "__main__":
    main()
