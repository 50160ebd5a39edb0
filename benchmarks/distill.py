"""Distil a network of known accuracy into one of less than a third of its FLOPs, with its features cached or not.

    python benchmarks/distill.py train --cifar10 data/cifar10 --resnet20 cifar10_resnet20.pt [--epochs 20] [--out RUN]
    python benchmarks/distill.py speed --cifar10 data/cifar10 --resnet20 cifar10_resnet20.pt [--rounds 15]

`train` distils the ResNet-20 of akamaster/pytorch_resnet_cifar10 (see `pretrained.py`) into a small residual network
that has never seen a label, and gives both to the linear probe. The teacher sees whole images, once; the student sees
crops of them. A run that was stopped goes on.

`speed` makes steps of the same two runs, with and without the cache, in turns of one process; processor time of each
turn is compared pair by pair, so that a busy machine favors neither.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from pretrained import Block, ResNet, resnet, show
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sslkit import CIFAR10, Distill, LinearProbe, PythonModule, Run
from sslkit.runtime.parallel import Single
from sslkit.specs.run import RunSpec
from sslkit.train.fill_token_cache import token_caches
from sslkit.train.prepare import prepare
from sslkit.train.supply import supply
from sslkit.train.watch.progress import Progress

STATISTICS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""Of the teacher's own training."""
CROPS = [{"kind": "random_resized_crop", "scale": [0.5, 1.0], "interpolation": "bilinear"}, {"kind": "flip"}]
STEPS = 8
"""A turn."""


class Student(nn.Module):
    """Three stages of one block, 32 to 128 wide, on a quarter of the teacher's places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.blocks = nn.Sequential(Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2))

    def forward(self, images: Tensor) -> Tensor:
        """`[B, 128, H / 8, W / 8]`."""
        features: Tensor = self.blocks(F.relu(self.norm(self.stem(images))))
        return features


def flops(net: nn.Module) -> int:
    """Of one image of 32 x 32, a multiplication and an addition counting 2."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 32))
    return int(counter.get_total_flops())


def run_of(args: argparse.Namespace, teacher: ResNet, cache: str | None, out: Path) -> Run:
    """The run; its networks are drawn from a seed."""
    torch.manual_seed(0)
    view = {"size": 32, "normalize": STATISTICS}
    return Run(
        name="distill",
        out=out,
        device="cpu",
        workers=1,
        data=CIFAR10(root=args.cifar10),
        views={"global": {**view, "augment": CROPS}, "whole": view},
        backbone=PythonModule(network=Student()),
        nets={
            "teacher": {"backbone": PythonModule(network=teacher, forward=ResNet.features), "cache": cache}
        },
        objective=Distill(teacher_view="whole"),
        optimizer={"lr": 2e-3, "scale": "absolute", "weight_decay": 0.05},
        schedule={"warmup_epochs": 1},
        batch_size=128,
        epochs=args.epochs,
        evaluate=(LinearProbe(),),
        checkpoint={"every": "1 epochs", "keep": 1},
        log={"figures": False},
    )


def train(args: argparse.Namespace) -> None:
    """The student's probe beside the teacher's."""
    teacher = resnet(args.resnet20)
    costs = flops(teacher), flops(Student())
    print(
        f"FLOPs of an image: teacher {costs[0]:,}, student {costs[1]:,} ({costs[1] / costs[0]:.3f})",
        flush=True,
    )
    began = time.process_time()
    result = run_of(args, teacher, "exact", args.out).fit()
    print(f"student  linear: accuracy {100 * result.metrics['eval/linear/accuracy']:.2f} %", flush=True)
    print(
        f"{args.epochs} epochs, {time.process_time() - began:.0f} s of processor time in this process",
        flush=True,
    )
    data = CIFAR10(root=args.cifar10)
    show("teacher", teacher, [LinearProbe()], data, size=32, **STATISTICS, forward=teacher.features)


def stepping(spec: RunSpec) -> Callable[[], float]:
    """A function that makes `STEPS` steps of `spec` and returns their processor time."""
    parallel = Single(torch.device("cpu"))
    composed = prepare(spec, parallel).composed(spec, parallel)
    composed.step.cached = token_caches(spec, composed, parallel, lambda *_: None, Progress())
    feed, done = supply(spec, composed, parallel.device, 0, lambda *_: None), [0]

    def turn() -> float:
        began = time.process_time()
        for _ in range(STEPS):
            composed.step(done[0], feed.step(done[0])).total.item()
            done[0] += 1
        return time.process_time() - began

    return turn


def speed(args: argparse.Namespace) -> None:
    """Steps a second of both."""
    with tempfile.TemporaryDirectory() as folder:
        teacher = resnet(args.resnet20)
        turns = {c: stepping(run_of(args, teacher, c, Path(folder) / str(c)).spec) for c in ("exact", None)}
        for turn in turns.values():
            turn()
        pairs = [(turns["exact"](), turns[None]()) for _ in range(args.rounds)]
    for name, times in zip(("cached", "computed"), zip(*pairs, strict=True), strict=True):
        print(f"{name:9} {STEPS / statistics.median(times):.2f} steps a second of processor time")
    ratios = sorted(slow / fast for fast, slow in pairs)
    print(
        f"ratio: median {statistics.median(ratios):.2f}, from {ratios[0]:.2f} to {ratios[-1]:.2f} ({len(pairs)} pairs)"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "speed"))
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--resnet20", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/distill"))
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    (train if args.what == "train" else speed)(args)


if __name__ == "__main__":
    main()
