"""What a file of embeddings costs: `sslkit.embed` against the bare extraction loop, side by side in turns.

    python benchmarks/embed.py --root data/cifar10 --images 5000

Prints images a second of both and the ratio of their times, for each ending.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sslkit import CIFAR10, embed
from sslkit.core.source import Source
from sslkit.evaluate.embeddings.embedding_network import network_of
from sslkit.evaluate.encoders import net_encoder
from sslkit.evaluate.features import Loading, rows
from sslkit.evaluate.open_network import Network
from sslkit.runtime.parallel import Single, choose_device
from sslkit.specs.embedding import EmbeddingSpec

ENDINGS = ("npy", "parquet", "safetensors")


def bare(source: Source, network: Network, device: torch.device) -> None:
    """Features of all images, kept in memory."""
    net, readout = network.net.to(device).eval(), network.spec.readout
    loading = Loading(
        network.view, readout.crop, readout.batch_size, 0, Single(device), lambda source, index, reason: None
    )
    encode = net_encoder(net, readout, contextlib.nullcontext)
    rows(source, lambda images, _: encode(images), loading)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Take turns, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="CIFAR-10")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--network", default="timm:vit_tiny_patch16_224")
    parser.add_argument("--size", type=int, default=64, help="side of the images")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    data = CIFAR10(root=options.root, limit=options.images)
    source, device = data.build("train"), choose_device(options.device)
    how = {
        "what": options.network, "checkpoint": "none", "size": options.size, "device": options.device, "workers": 0,
        "precision": "float32",
    }  # fmt: skip
    network = network_of(EmbeddingSpec(**how, out=Path("e.npy")), source, data)
    what = how.pop("what")
    times: dict[str, list[float]] = {name: [] for name in ("bare", *ENDINGS)}
    for _ in range(options.turns):
        times["bare"].append(seconds(lambda: bare(source, network, device)))
        for ending in ENDINGS:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / f"e.{ending}"
                times[ending].append(seconds(lambda out=out: embed(what, data=data, out=out, **how)))
    medians = {name: sorted(each)[len(each) // 2] for name, each in times.items()}
    for name, median in medians.items():
        print(
            f"{name:<12} {len(source) / median:8,.0f} images/s  {median / medians['bare']:.3f} x the bare loop"
        )


if __name__ == "__main__":
    main()
