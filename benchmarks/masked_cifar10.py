"""Maskers and targets of MAE on CIFAR-10: k-NN and linear probe over seeds, as a table.

    python benchmarks/masked_cifar10.py --root data/cifar10 [--epochs 3] [--seeds 0 1 2] [--out runs/masked_cifar10]

Every row changes one thing of `examples/cifar10_mae.yaml`. Runs that are done are not made again, and one that was
stopped goes on where it was, so the command may be stopped and repeated at any time. The table is printed at the end,
and after every run with what is there so far.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from sslkit.api import Run

SPEC = Path(__file__).parents[1] / "examples" / "cifar10_mae.yaml"
TEACHER = "nets={teacher: {momentum: 0.99}}"  # a short run needs an average of a short memory
ROWS = {
    "random 0.75, normalized pixels": (),
    "attention 0.75 (AttMask-High)": ("objective.masker={kind: attention, ratio: 0.75}", TEACHER),
    "curriculum 0.5 to 0.85": (
        "objective.masker={kind: curriculum, masker: {kind: random}, field: ratio, start: 0.5, end: 0.85}",
    ),
    "random 0.75, pixels": ("objective.target={kind: pixel}",),
    "random 0.75, HOG": ("objective.target={kind: hog, cell: 4}",),
}
METRICS = {"k-NN": "eval/knn/accuracy", "linear": "eval/linear/accuracy"}


def overrides(args: argparse.Namespace, row: int, seed: int) -> list[str]:
    """The changes of one run."""
    return [
        f"name=row{row}-seed{seed}",
        f"out={args.out / f'row{row}-seed{seed}'}",
        f"data.root={args.root}",
        f"seed={seed}",
        f"epochs={args.epochs}",
        "batch_size=256",
        "backbone.width=96",
        "backbone.depth=3",
        "backbone.heads=3",
        "objective.decoder.width=48",
        "objective.decoder.depth=1",
        "evaluate=[{kind: knn}, {kind: linear}]",
        "log.loggers=[]",
        *list(ROWS.values())[row],
    ]


def metrics(folder: Path) -> dict[str, float] | None:
    """The final metrics of a run that is done."""
    summary = folder / "summary.json"
    if not summary.exists():
        return None
    found = json.loads(summary.read_text())["metrics"]
    return {name: found[key] for name, key in METRICS.items()} if METRICS["linear"] in found else None


def table(args: argparse.Namespace) -> str:
    """Mean, deviation and number of seeds of what is there so far."""
    lines = [
        "| masker and target | " + " | ".join(METRICS) + " | seeds |",
        "|---|" + "---|" * (len(METRICS) + 1),
    ]
    for row, label in enumerate(ROWS):
        found = [metrics(args.out / f"row{row}-seed{seed}") for seed in args.seeds]
        done = [values for values in found if values is not None]
        if done:
            cells = [told([values[name] for values in done]) for name in METRICS]
            lines.append(f"| {label} | {' | '.join(cells)} | {len(done)} |")
    return "\n".join(lines)


def told(values: list[float]) -> str:
    """Mean and standard deviation (n - 1), in percent."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{100 * statistics.mean(values):.2f} ± {100 * deviation:.2f}"


def main() -> None:
    """Make every run that is missing, seed by seed, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder of CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("runs/masked_cifar10"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    for seed in args.seeds:
        for row, label in enumerate(ROWS):
            if metrics(args.out / f"row{row}-seed{seed}") is None:
                print(f"\n# {label}, seed {seed}", flush=True)
                Run.from_yaml(SPEC, *overrides(args, row, seed)).fit()
                print(table(args), flush=True)
    print(table(args))


if __name__ == "__main__":
    main()
