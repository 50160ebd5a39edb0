"""What a step of SimCLR costs on a CPU, and which levers make it cheaper, in turns in one process.

    OMP_NUM_THREADS=1 python benchmarks/simclr_step.py --root data/cifar10 [--rounds 7] [--compile] [--profile]

The recipe is that of `time_to_accuracy.py`. Processor time of crops and colors (`feed`) and of the trainer's step, each
the median over rounds, and how many times as many images as without a lever pass in the same time, paired by round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import time_to_accuracy
import torch

from sslkit.runtime.parallel import Single
from sslkit.specs.load import changed, parse, read_assignments
from sslkit.train.trainer import Trainer

LEVERS: dict[str, tuple[str, ...]] = {
    "none": (),
    "24 pixels": ("views.global.size=24",),
    "bfloat16": ("precision=bfloat16",),
    "24 pixels, bfloat16": ("views.global.size=24", "precision=bfloat16"),
}
COMPILED = {"compiled": ("compile.enabled=true",)}
WARM = 1
"""Rounds that are not counted."""


def trainer_of(args: argparse.Namespace, changes: Sequence[str], out: Path) -> Trainer:
    """The recipe with a lever."""
    words = ["--root", str(args.root), "--set", *args.set, *changes]
    fields = time_to_accuracy.spec_of(time_to_accuracy.arguments(words)).model_dump(
        mode="json", exclude_unset=True
    )
    quiet = read_assignments([*time_to_accuracy.SHORT[:3], "log.flops=false", "steps=1000000", f"out={out}"])
    return Trainer(parse(changed({**fields, "epochs": None}, quiet)), Single(torch.device("cpu")))


def parts_of(trainer: Trainer) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """Images of a step, and the step on images that are there."""
    feed = trainer._feed()
    batches = list(feed.step(0))

    def images(number: int) -> None:
        list(feed.step(number))

    def step(number: int) -> None:
        trainer.stepper(number, batches)

    return images, step


def measured(
    parts: Mapping[str, tuple[Callable[[int], None], Callable[[int], None]]], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Processor seconds of feed and step in each round, whose order turns round."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    for number in range(rounds + WARM):
        for name in list(parts)[:: 1 if number % 2 == 0 else -1]:
            times = []
            for part in parts[name]:
                begin = time.process_time()
                part(number)
                times.append(time.process_time() - begin)
            if number >= WARM:
                seen[name].append((times[0], times[1]))
    return seen


def table(seen: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Medians, and ratios with their range."""
    lines = ["| Lever | crops and colors, ms | step, ms | images, times |", "|---|---|---|---|"]
    whole = [sum(times) for times in seen["none"]]
    for name, rounds in seen.items():
        feed, step = (1e3 * statistics.median(times) for times in zip(*rounds, strict=True))
        ratios = sorted(a / sum(b) for a, b in zip(whole, rounds, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        lines.append(f"| {name} | {feed:.0f} | {step:.0f} | {spread} |")
    return "\n".join(lines)


def profiled(step: Callable[[int], None]) -> str:
    """Where the processor time of a step goes."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step(0)
    return str(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=12))


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder of CIFAR-10")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--compile", action="store_true", help="compiled forwards too")
    parser.add_argument("--profile", action="store_true", help="where a step without levers spends its time")
    args = parser.parse_args(words)
    levers = LEVERS | (COMPILED if args.compile else {})
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            name: parts_of(trainer_of(args, changes, Path(folder) / str(i)))
            for i, (name, changes) in enumerate(levers.items())
        }
        print(table(measured(parts, args.rounds)))
        if args.profile:
            print(profiled(parts["none"][1]))


if __name__ == "__main__":
    main()
