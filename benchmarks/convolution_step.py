"""A step of SimCLR on a convolutional network: this build, another commit's, and a loop written by hand, in turns.

    python benchmarks/convolution_step.py --root data/cifar10 [--net resnet18] [--size 32] [--batch 256]
        [--against COMMIT] [--rounds 10] [--steps 3] [--threads 1]

Each side is a process of its own, which waits while another makes its steps; rounds go A B C, C B A. All read the same
augmented crops, made by their own build. The hand-written loop joins the two crops in one pass (batch norm over both:
another meaning than `views_apart`, and the limit of what a machine can do), keeps weights and images channels last, and
has a fused optimizer and no schedules, guards or records. `--against` installs the commit into a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from other_builds import THIS, Side, answer_turns, builds, first_of, rounds

HERE = Path(__file__).resolve()


def spec_fields(args: argparse.Namespace, out: str) -> dict[str, object]:
    """SimCLR with AdamW; nothing but steps."""
    return {
        "name": "convolutions",
        "out": out,
        "data": {"kind": "cifar10", "root": args.root},
        "views": {"global": {"size": args.size, "crops": 2, "recipe": "simclr_cifar"}},
        "backbone": {"kind": "cnn", "name": args.net},
        "objective": {"kind": "simclr", "projector": {"layers": 2, "hidden": 512, "out": 128}},
        "optimizer": {"lr": 1e-3, "scale": "absolute"},
        "batch_size": args.batch,
        "steps": 1_000_000,
        "precision": "float32",
        "device": "cpu",
        "evaluate": [],
        "log": {"loggers": []},
    }


def trainer_of(args: argparse.Namespace, folder: str):
    """The trainer of whichever build can be imported: rooms have moved since the first commits."""
    import torch

    spec = first_of("RunSpec", "sslkit.specs.run", "sslkit.spec.run").model_validate(
        spec_fields(args, folder)
    )
    single = first_of("Single", "sslkit.runtime.parallel", "sslkit.train.parallel")
    trainer = first_of("Trainer", "sslkit.train.trainer")(spec, single(torch.device("cpu")))
    progress = first_of("Progress", "sslkit.train.watch.progress", "sslkit.train.progress")
    trainer.progress = progress(enabled=False)
    return trainer


def ours(trainer) -> Callable[[int], None]:
    """The trainer's own loop body, guards and records included."""
    feed, done = trainer._feed(), 0

    def steps(count: int) -> None:
        nonlocal done
        for _ in range(count):
            losses = trainer.stepper(done, feed.step(done))
            done += 1
            trainer.guard.watch(done, losses.values)
            if done % trainer.spec.log.every == 0:
                trainer._record(done, losses)

    return steps


def by_hand(trainer, net_name: str) -> Callable[[int], None]:
    """One pass over both crops."""
    import timm
    import torch
    import torch.nn.functional as F
    from torch import nn

    net = timm.create_model(net_name, num_classes=0).to(memory_format=torch.channels_last)
    head = nn.Sequential(nn.Linear(net.num_features, 512), nn.ReLU(), nn.Linear(512, 128))
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=1e-3, fused=True)
    feed, done = trainer._feed(), 0

    def steps(count: int) -> None:
        nonlocal done
        for _ in range(count):
            (batch,) = feed.step(done)
            done += 1
            images = batch.images["global"].flatten(0, 1).contiguous(memory_format=torch.channels_last)
            z = F.normalize(head(net(images)), dim=1)
            logits = (z @ z.T / 0.5).fill_diagonal_(-torch.inf)
            half = len(z) // 2
            F.cross_entropy(logits, torch.arange(len(z)).roll(half)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return steps


def work(args: argparse.Namespace) -> None:
    """Make as many steps as a line of the input says, and print how long they took, until the input ends."""
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(args, f"{folder}/run")
        steps = by_hand(trainer, args.net) if args.side == "by hand" else ours(trainer)
        steps(2)

        def timed(count: str) -> list[float]:
            start = time.perf_counter()
            steps(int(count))
            return [time.perf_counter() - start]

        answer_turns(timed)
        trainer.recorder.close()


def main() -> None:
    """Read what is asked, and be a side or compare all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, type=os.path.abspath, help="folder of CIFAR-10")
    parser.add_argument("--net", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3, help="in a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        work(args)
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Let all sides take turns; print medians and ratios."""
    words = [
        word
        for name in ("root", "net", "size", "batch", "threads")
        for word in (f"--{name}", str(getattr(args, name)))
    ]
    with builds(args.against) as packages:
        packages["by hand"] = packages[THIS]
        sides = {name: Side(HERE, name, where, words) for name, where in packages.items()}
        seconds = rounds(sides, args.rounds, str(args.steps))
    for name, turns in seconds.items():
        times = [turn[0] for turn in turns]
        ratio = statistics.median(t / ours[0] for t, ours in zip(times, seconds[THIS], strict=True))
        step = statistics.median(times) / args.steps
        print(f"{name:12} {step:.3f} s a step, {ratio:.3f} x this build's (median of {len(times)} pairs)")


if __name__ == "__main__":
    main()
