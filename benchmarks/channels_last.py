"""Convolutional networks with images channels first, images channels last, and weights channels last too, in turns.

    python benchmarks/channels_last.py [--rounds 5] [--threads 1]

A turn is a forward and a backward of each form once. Ratios are to channels first, medians over rounds: below 1 is
faster. Processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import NamedTuple

import timm
import torch
from torch import Tensor, nn


class Case(NamedTuple):
    """A network and what it reads."""

    label: str
    name: str
    batch: int
    size: int
    arguments: dict


CASES = (
    Case(
        "`resnet10t`, half as wide", "resnet10t", 256, 32, {"channels": (32, 64, 128, 256), "stem_width": 16}
    ),
    Case("`test_resnet`", "test_resnet", 512, 16, {}),
    Case("`resnet10t`", "resnet10t", 128, 32, {}),
    Case("`resnet18`, stem for small images", "resnet18", 32, 32, {}),
    Case("`resnet50`", "resnet50", 4, 224, {}),
    Case("`convnext_atto`", "convnext_atto", 32, 64, {}),
    Case("`mobilenetv3_small_100`", "mobilenetv3_small_100", 32, 96, {}),
    Case("`efficientnet_b0`", "efficientnet_b0", 16, 96, {}),
    Case("`regnety_002`", "regnety_002", 32, 96, {}),
)


def network(case: Case) -> nn.Module:
    """With a stem for small images where the label says so."""
    net: nn.Module = timm.create_model(case.name, num_classes=0, **case.arguments)
    if "stem for small" in case.label:
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        net.maxpool = nn.Identity()
    return net


def seconds(net: nn.Module, images: Tensor) -> float:
    """Processor time of one forward and one backward."""
    start = time.process_time()
    net(images).sum().backward()
    return time.process_time() - start


def ratios(case: Case, rounds: int) -> tuple[float, float]:
    """Time with images channels last, and with weights too, over that with channels first."""
    first = torch.randn(case.batch, 3, case.size, case.size)
    last = first.contiguous(memory_format=torch.channels_last)
    forms = ((network(case), first), (network(case), last),
             (network(case).to(memory_format=torch.channels_last), last))  # fmt: skip
    times = [[seconds(net, images) for net, images in forms] for _ in range(rounds + 1)][1:]
    one, two = (statistics.median(row[i] / row[0] for row in times) for i in (1, 2))
    return one, two


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print("| Network, images | images channels last | weights too |\n|---|---|---|")
    both = []
    for case in CASES:
        both.append(ratios(case, args.rounds))
        print(f"| {case.label}, {case.size} px | {both[-1][0]:.2f} | {both[-1][1]:.2f} |", flush=True)
    means = (statistics.geometric_mean(column) for column in zip(*both, strict=True))
    print("| geometric mean | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
