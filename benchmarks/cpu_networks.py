"""Small networks for training on a CPU: images a second, operations and parameters, in turns in one process.

    python benchmarks/cpu_networks.py [--size 32] [--batch 256] [--rounds 5] [--threads 1]

A turn is a forward and a backward of each network once. Ratios are to the first network, medians over rounds. What an
image costs is not what it teaches: this table only says how many images a budget buys.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

HALF = {"channels": (32, 64, 128, 256), "stem_width": 16}
VIT = {"img_size": 32, "patch_size": 4}
CANDIDATES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "resnet10t": ("resnet10t", {}),
    "resnet10t, half as wide": ("resnet10t", HALF),
    "resnet14t, half as wide": ("resnet14t", HALF),
    "resnet18, stem for small images": ("resnet18", {}),
    "test_resnet": ("test_resnet", {}),
    "mobilenetv4_conv_small": ("mobilenetv4_conv_small", {}),
    "convnext_atto": ("convnext_atto", {}),
    "ViT 128 x 6, patch 4": (
        "vit_tiny_patch16_224", {**VIT, "embed_dim": 128, "depth": 6, "num_heads": 4}
    ),
    "ViT 192 x 6, patch 4": (
        "vit_tiny_patch16_224", {**VIT, "embed_dim": 192, "depth": 6, "num_heads": 3}
    ),
}  # fmt: skip
"""Name in the table -> timm's name and arguments."""


def network(label: str) -> nn.Module:
    """A candidate, its convolutions with channels last."""
    name, arguments = CANDIDATES[label]
    net: nn.Module = timm.create_model(name, num_classes=0, **arguments)
    if "stem for small" in label:
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        net.maxpool = nn.Identity()
    return net.to(memory_format=torch.channels_last)


def seconds(net: nn.Module, images: Tensor) -> float:
    """Of one forward and one backward."""
    start = time.perf_counter()
    net(images).sum().backward()
    return time.perf_counter() - start


def operations(net: nn.Module, images: Tensor) -> float:
    """Multiplications and additions of a forward, per image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(images[:2])
    return counter.get_total_flops() / 2


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    images = torch.randn(args.batch, 3, args.size, args.size).contiguous(memory_format=torch.channels_last)
    nets = {label: network(label) for label in CANDIDATES}
    taken: dict[str, list[float]] = {label: [] for label in nets}
    for turn in range(args.rounds + 1):
        for label, net in nets.items():
            spent = seconds(net, images)
            if turn:  # the first turn warms up
                taken[label].append(spent)
    first = taken[next(iter(nets))]
    print("| network | parameters, million | MFLOP forward | images/s | ratio |\n|---|---|---|---|---|")
    for label, net in nets.items():
        ratio = statistics.median(a / b for a, b in zip(first, taken[label], strict=True))
        parameters = sum(p.numel() for p in net.parameters()) / 1e6
        rate = args.batch / statistics.median(taken[label])
        flops = operations(net, images) / 1e6
        print(f"| {label} | {parameters:.2f} | {flops:.1f} | {rate:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
