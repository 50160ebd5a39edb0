"""What masked encoding costs: a ViT on visible patches only, against the same ViT on all of them, side by side.

    python benchmarks/masking.py [--name vit_small_patch16_224] [--ratio 0.75] [--batch 4] [--rounds 15]

FLOPs are those that torch.utils.flop_counter counts in a forward and backward of the backbone (attention is counted as
plain matrix products). Those outside its blocks are the patch embedding's. Times are processor seconds of
forward and backward on the same images; the three ways take turns, and turns are compared round by round, so a
machine that others use, or whose speed drifts, favors none.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sslkit import RandomMasker, ViT
from sslkit.core.backbone import Backbone
from sslkit.core.context import View
from sslkit.core.masker import mask_of
from sslkit.core.passes import Encode, Mask, Request

WAYS = ("all patches", "visible patches (drop)", "mask tokens (token)")


class Flops(NamedTuple):
    """Of one forward and backward."""

    encoder: int
    embedding: int
    """Part of it that is outside the blocks."""


def random_mask(batch: int, patches: int, ratio: float) -> Mask:
    """As many hidden patches in every image, at random."""
    generator = torch.Generator().manual_seed(0)
    visible = int(patches * (1 - ratio))
    noise = torch.rand(1, batch, patches, generator=generator)
    hidden = torch.ones_like(noise, dtype=torch.bool).scatter(
        -1, noise.argsort(-1)[..., :visible], value=False
    )
    return mask_of(hidden, visible, patches - visible)


def step(net: Backbone, request: Request) -> None:
    """Forward and backward of the encoder alone."""
    (tokens,) = net([request])
    (tokens.cls.square().mean() + tokens.patch.square().mean()).backward()
    net.zero_grad(set_to_none=True)


def flops(net: Backbone, request: Request) -> Flops:
    """What the flop counter sees."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step(net, request)
    by_module = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    blocks = sum(n for name, n in by_module.items() if name.rpartition(".")[0].endswith(".blocks"))
    return Flops(counter.get_total_flops(), counter.get_total_flops() - blocks)


def seconds(net: Backbone, request: Request) -> float:
    """Processor seconds of one step."""
    begin = time.process_time()
    step(net, request)
    return time.process_time() - begin


def compare(net: Backbone, requests: list[Request], rounds: int) -> list[list[float]]:
    """Times of each request, in turns whose order changes every round."""
    times: list[list[float]] = [[] for _ in requests]
    for request in requests:
        step(net, request)
    for i in range(rounds):
        for place in range(len(requests)):
            way = (i + place) % len(requests)
            times[way].append(seconds(net, requests[way]))
    return times


def main() -> None:
    """Count, time and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="vit_small_patch16_224", help="a ViT of timm")
    parser.add_argument("--size", type=int, default=224, help="side of the images, in pixels")
    parser.add_argument("--ratio", type=float, default=0.75, help="share of hidden patches")
    parser.add_argument("--batch", type=int, default=4, help="images")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net = ViT(name=args.name).build(View(args.size, 1, 3, (0.5,) * 3, (0.5,) * 3))
    net.serve([Encode("global", mask=RandomMasker(ratio=args.ratio), mode="token")])
    grid = net.grid(args.size)
    mask = random_mask(args.batch, grid.patches, args.ratio)
    images = torch.randn(1, args.batch, 3, args.size, args.size)
    requests = [
        Request(images, None, "drop", ()), Request(images, mask, "drop", ()), Request(images, mask, "token", ())
    ]  # fmt: skip
    counts = [flops(net, request) for request in requests]
    times = compare(net, requests, args.rounds)
    kernel = (
        2 * 2 * net.dim * 3 * grid.patch**2 * args.batch
    )  # multiply and add, in forward and for the weight
    print(f"{args.name}, {args.batch} images of {args.size} px, ratio {args.ratio}, {args.rounds} rounds")
    print(
        "| forward + backward | encoder GFLOPs | ratio | embedding GFLOPs | patches embedded | time | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    for way, count, taken in zip(WAYS, counts, times, strict=True):
        pairs = statistics.median(a / b for a, b in zip(taken, times[0], strict=True))
        print(
            f"| {way} | {count.encoder / 1e9:.2f} | {count.encoder / counts[0].encoder:.3f} "
            f"| {count.embedding / 1e9:.3f} | {count.embedding / kernel:.1f} of {grid.patches} "
            f"| {statistics.median(taken):.2f} s | {pairs:.3f} |"
        )


if __name__ == "__main__":
    main()
