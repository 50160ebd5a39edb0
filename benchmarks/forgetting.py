"""How much a network forgets of half the classes of CIFAR-10 while it goes on with the other half.

    python benchmarks/forgetting.py --cifar10 PATH --start runs/cifar10_cpu/simclr_spread__seed-0

`--start` is a run of `examples/cifar10_cpu.yaml`, whose networks and objectives every arm takes, and each trains on the
images of the first five classes: with nothing that holds it, with an anchor, with Gram anchoring. Scored is the k-NN
accuracy on either half, among its five classes, before and after. Runs that were stopped go on.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from sslkit import CIFAR10, KNN, PythonData, Run

TERMS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "nothing": {},
    "anchor": {"hold": {"kind": "anchor", "net": "start"}},
    "gram": {"hold": {"kind": "gram", "net": "start"}},
}
"""Arm -> the term that it adds to the objectives of the first run."""


def half(root: Path, classes: range) -> PythonData:
    """The images of `classes`, in both splits."""
    parts = {}
    for split in ("train", "test"):
        source = CIFAR10(root=root).build(split)
        images, labels = source.resident(), source.labels
        assert images is not None
        assert labels is not None
        rows = ((labels >= classes.start) & (labels < classes.stop)).nonzero()[:, 0]
        parts[split] = (images[rows], labels[rows] - classes.start)
    return PythonData(train=parts["train"], test=parts["test"])


def run_of(args: argparse.Namespace, arm: str, weight: float, seed: int) -> Run:
    """The run of one arm; what is not said here is as in the first run."""
    first = yaml.safe_load((args.start / "spec.yaml").read_text())
    terms = first.get("objectives") or {"main": first["objective"]}
    held = {name: {**term, "weight": weight} for name, term in TERMS[arm].items()}
    old, new = half(args.cifar10, range(5, 10)), half(args.cifar10, range(5))
    return Run(
        name=f"forgetting-{arm}",
        out=args.out / f"{arm}-{weight:g}-{seed}",
        seed=seed,
        device="cpu",
        data=new,
        views=first["views"],
        backbone=first["backbone"],
        start_from={"run": str(args.start)},
        nets={"start": {"refresh": "never"}} if held else {},
        objectives={**terms, **held},
        optimizer={**first["optimizer"], "lr": args.rate},
        schedule={"warmup_epochs": 0.2},
        precision="float32",
        batch_size=256,
        steps=args.steps,
        evaluate=(
            KNN(name="new", baselines=True),
            KNN(name="old", baselines=True, train=old, test=old),
        ),
        checkpoint={"every": "50 steps", "keep": 1},
        log={"figures": False},
    )


def main() -> None:
    """Read the command line, train, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--rate", type=float, default=2.0)
    parser.add_argument(
        "--arms", nargs="+", default=["nothing:0", "anchor:1", "gram:1"], metavar="ARM:WEIGHT"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'arm':12} {'new, before':>12} {'after':>7} {'old, before':>12} {'after':>7} {'forgotten, by seed':>24}"
    )
    for chosen in args.arms:
        arm, _, weight = chosen.partition(":")
        results = [run_of(args, arm, float(weight), seed).fit() for seed in range(args.seeds)]
        scores = [{**result.summary["baselines"], **result.metrics} for result in results]
        before, after = (
            {h: [100 * s[f"{when}/{h}/accuracy"] for s in scores] for h in ("new", "old")}
            for when in ("baseline/start", "eval")
        )
        lost = [b - a for b, a in zip(before["old"], after["old"], strict=True)]
        mean = {h: (statistics.fmean(before[h]), statistics.fmean(after[h])) for h in ("new", "old")}
        print(
            f"{chosen:12} {mean['new'][0]:12.1f} {mean['new'][1]:7.1f} {mean['old'][0]:12.1f} {mean['old'][1]:7.1f} "
            f"{', '.join(f'{x:.1f}' for x in lost):>24}   mean {statistics.fmean(lost):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
