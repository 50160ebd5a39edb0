"""What a hybrid costs: balancers against the plain sum, and a hybrid against its terms alone, side by side.

    OMP_NUM_THREADS=1 python benchmarks/hybrid.py [--batch 16] [--rounds 8] [--size 96] [--device cpu]

First MAE + InfoNCE on the same visible tokens (as in CAN), where every backward of the student is shared: the sum of
the losses (`fixed`), `pcgrad` on the parameters (a backward of the student for each term) and on the tokens (one), and
the sum with every step measured (`log.conflict`). Then MAE + DINO + MoCo v2 on shared views, 4 passes where 6 are asked
against the three alone. ViT-T; images are fixed noise, as reading them is another matter. Runs take turns, step by
step, and are compared within a round, so a machine whose speed drifts favors none. On a CPU times are the processor's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import sslkit  # noqa: F401  the plugins are loaded with it
from sslkit.build.maskers import make_maskers
from sslkit.build.system import make_system, make_views
from sslkit.core.context import Length, View
from sslkit.core.passes import Request
from sslkit.data.loaders import Batch
from sslkit.runtime.parallel import Single
from sslkit.specs.load import parse
from sslkit.train.step.stepper import Stepper

LONG = 1_000_000
MASKER = {"kind": "random", "ratio": 0.75}
MAE = {"kind": "mae", "masker": MASKER}
NCE = {"kind": "infonce", "masker": MASKER, "projector": {"hidden": 512, "out": 128}}
DINO = {"kind": "dino", "prototypes": 4096, "freeze_last_layer": 0}
MOCO = {"kind": "moco_v2", "queue": 4096}
PAIR = {"mim": MAE, "contrast": NCE}
TRIPLE = {"mim": MAE, "distill": DINO, "contrast": MOCO}
COMPARED: dict[str, dict[str, Any]] = {
    "fixed": {"objectives": PAIR},
    "pcgrad, parameters": {"objectives": PAIR, "balance": {"kind": "pcgrad"}},
    "pcgrad, features": {"objectives": PAIR, "balance": {"kind": "pcgrad", "space": "features"}},
    "fixed, measured": {"objectives": PAIR, "log": {"conflict": "1 steps"}},
}


def step_of(changes: Mapping[str, Any], args: argparse.Namespace) -> tuple[Callable[[int], None], Stepper]:
    """The trainer's step of a run, on fixed crops."""
    teacher = {"nets": {"teacher": {"momentum": 0.996}}} if changes.get("teacher", True) else {}
    normalize = {"mean": [0.5], "std": [0.25]}
    spec = parse({
        "device": args.device, "compile": {"enabled": args.compile}, "data": {"kind": "digits"},
        "views": {
            "global": {"size": args.size, "crops": 2, "normalize": normalize},
            "local": {"size": args.size // 2, "crops": 2, "normalize": normalize},
        },
        "backbone": {"kind": "vit", "name": "vit_tiny_patch16_224"},
        "optimizer": {"lr": 1e-4}, "batch_size": args.batch, "steps": LONG, **teacher, **changes,
    })  # fmt: skip
    views: dict[str, View] = make_views(spec, 1)
    parallel = Single(torch.device(args.device))
    system, env = make_system(spec, views, Length(LONG, LONG))
    stepper = Stepper(spec, system, make_maskers(system, env), Length(LONG, LONG), parallel)
    generator = torch.Generator().manual_seed(0)
    crops: dict[str, Tensor] = {
        name: torch.randn(v.crops, args.batch, 1, v.size, v.size, generator=generator).to(args.device)
        for name, v in views.items()
    }
    rows = torch.arange(args.batch, device=args.device)

    def step(number: int) -> None:
        stepper(number, [Batch(crops, rows)])
        if args.device == "cuda":
            torch.cuda.synchronize()

    return step, stepper


def rounds_of(
    steps: Mapping[str, Callable[[int], None]], count: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each run's step in each round, two rounds of warm-up left out."""
    seen: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(count + 2):
        for name in list(steps)[:: 1 if i % 2 == 0 else -1]:
            begin = clock()
            steps[name](i)
            if i >= 2:
                seen[name].append(clock() - begin)
    return seen


def ratio(ones: list[float], others: list[float]) -> str:
    """Of paired times: the median, and how far single pairs lie apart."""
    found = sorted(a / b for a, b in zip(ones, others, strict=True))
    return f"{statistics.median(found):.3f} ({found[0]:.3f} to {found[-1]:.3f})"


def balancers(args: argparse.Namespace, clock: Callable[[], float]) -> None:
    """MAE + InfoNCE on one pass."""
    steps = {name: step_of(changes, args)[0] for name, changes in COMPARED.items()}
    seen = rounds_of(steps, args.rounds, clock)
    print("MAE + InfoNCE on shared visible tokens:  ms a step (median), times `fixed` (median, range)")
    for name, times in seen.items():
        print(f"  {name:<22} {statistics.median(times) * 1e3:8.1f}   {ratio(times, seen['fixed'])}")


def terms(args: argparse.Namespace, clock: Callable[[], float]) -> None:
    """MAE + DINO + MoCo v2 on shared views against the three alone."""
    runs = {
        "hybrid": {"objectives": TRIPLE},
        **{name: {"objectives": {name: one}} for name, one in TRIPLE.items()},
    }
    made = {name: step_of(changes, args) for name, changes in runs.items()}
    steps = {name: step for name, (step, _) in made.items()}
    steps["what is shared"] = shared(made["contrast"][1], args)
    seen = rounds_of(steps, args.rounds, clock)
    print("MAE + DINO + MoCo v2 on shared views:  ms a step (median), passes that run")
    for name, times in seen.items():
        if name not in made:
            print(f"  {name:<22} {statistics.median(times) * 1e3:8.1f}")
            continue
        passes = len(made[name][1].system.late.runs)
        print(f"  {name:<22} {statistics.median(times) * 1e3:8.1f}   {passes}")
    alone = [sum(parts) for parts in zip(*(seen[name] for name in TRIPLE), strict=True)]
    print(f"  hybrid / sum of its terms alone: {ratio(seen['hybrid'], alone)}")
    saved = [a - b for a, b in zip(alone, seen["hybrid"], strict=True)]
    print(f"  what is saved / what is shared: {ratio(saved, seen['what is shared'])}")


def shared(stepper: Stepper, args: argparse.Namespace) -> Callable[[int], None]:
    """The two passes that the hybrid makes once for two terms: the student there and back, the teacher there."""
    student, teacher = stepper.system.nets["student"], stepper.system.nets["teacher"]
    generator = torch.Generator().manual_seed(0)
    crops = torch.randn(2, args.batch, 1, args.size, args.size, generator=generator).to(args.device)
    requests = [Request(crops, None, "drop", ())]

    def step(number: int) -> None:
        (tokens,) = student(requests)
        (tokens.cls.sum() + tokens.patch.sum()).backward()
        with torch.no_grad():
            teacher(requests)
        student.zero_grad(set_to_none=True)
        if args.device == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", choices=("both", "balancers", "sharing"), default="both")
    parser.add_argument("--compile", action="store_true", help="compile the forwards")
    args = parser.parse_args()
    clock = time.perf_counter if args.device == "cuda" else time.process_time
    if args.part != "sharing":
        balancers(args, clock)
    if args.part != "balancers":
        terms(args, clock)


if __name__ == "__main__":
    main()
