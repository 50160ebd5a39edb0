"""MoCo and SimCLR on CIFAR-10 with a ResNet-18 against the published k-NN accuracies, unattended, in short parts.

    python benchmarks/cifar10_table.py --root data/cifar10 [--minutes 9] [--rows moco simclr] [--out runs/cifar10_table]
        [--set KEY=VALUE ...]

Runs `examples/cifar10_moco.yaml` and `examples/cifar10_simclr.yaml`. It stops by itself after `--minutes`: the run that
is going on saves and ends, and the next call goes on from that step, bit for bit as if nothing had happened. Runs that
are done are not made again. So it may be called until it prints `all done` (and exits with 0; with 3 before):

    until python benchmarks/cifar10_table.py --root data/cifar10 --minutes 9; do :; done

The table tells the last and the best accuracy (the published MoCo rows are of the last epoch, SimCLR's is the best),
minutes of training without evaluation, images (not crops) a second, and the most device memory of any part.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from sslkit.runs.lock import read_lock

EXAMPLES = Path(__file__).parents[1] / "examples"
METRIC = "eval/knn/accuracy"
PARTS = "parts.jsonl"
UNFINISHED = 3
GRACE = 120
"""Seconds that a run gets to save after it was asked to stop."""


class Row(NamedTuple):
    """A line of the table."""

    label: str
    spec: str
    changes: tuple[str, ...]
    published: str


ROWS = {
    "moco": Row("MoCo, symmetric, 200 epochs", "cifar10_moco.yaml", (), "85.3"),
    "moco_asymmetric": Row("MoCo, 200 epochs", "cifar10_moco.yaml", ("objective.symmetric=false",), "82.6"),
    "simclr": Row("SimCLR, batch 512, 200 epochs", "cifar10_simclr.yaml", (), "84.8 (best)"),
}


def summary(folder: Path) -> dict[str, Any]:
    """What the run in `folder` has come to; nothing where it has not begun."""
    path = folder / "summary.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def go_on(name: str, args: argparse.Namespace, deadline: float) -> None:
    """Run or resume the row `name` until it is done or `deadline` has come."""
    row, folder = ROWS[name], args.out / name
    command = [
        sys.executable, "-m", "sslkit", "run", str(EXAMPLES / row.spec), "--out", str(folder),
        f"data.root={args.root}", f"name=cifar10-{name}", *row.changes, *args.set,
    ]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        process.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait(GRACE)
    # a signal before training has begun ends it at once
    if process.returncode not in (0, -signal.SIGTERM):
        raise SystemExit(f"{name}: sslkit ended with {process.returncode}")
    found = summary(folder)
    if found and process.returncode == 0:
        part = {key: found[key] for key in ("step", "seconds", "peak_memory_mib")}
        with (folder / PARTS).open("a") as file:
            file.write(json.dumps(part) + "\n")


def line(name: str, folder: Path) -> str:
    """A line of the table, of a run that has begun."""
    found, row = summary(folder), ROWS[name]
    last, best = found["metrics"].get(METRIC), found["best"].get(METRIC)
    lock = read_lock(folder)
    resolved, batch = lock["resolved"], int(lock["spec"]["batch_size"])
    rate = found["step"] * batch / max(found["seconds"], 1e-9)
    parts = [json.loads(text) for text in (folder / PARTS).read_text().splitlines()]
    cells = [
        row.label,
        row.published,
        f"{found['epoch']:.1f}",
        percent(last),
        "-"
        if best is None
        else f"{percent(best['value'])} (epoch {best['step'] / resolved['steps_per_epoch']:g})",
        f"{found['seconds'] / 60:.1f}",
        f"{rate:,.0f}",
        f"{max(part['peak_memory_mib'] for part in parts) / 1024:.2f} GiB",
        str(resolved["device"]),
    ]
    return f"| {' | '.join(cells)} |"


def percent(value: float | None) -> str:
    """For people."""
    return "-" if value is None else f"{100 * value:.2f}"


def table(args: argparse.Namespace) -> str:
    """All rows that have begun."""
    head = "| run | published | epochs | last | best | minutes | images/s | memory | device |"
    lines = [head, "|---" * 9 + "|"]
    return "\n".join(lines + [line(name, args.out / name) for name in args.rows if summary(args.out / name)])


def main() -> int:
    """Go on with the first row that is not done, until all are or time is up; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder of CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10_table"))
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="when to stop; saving takes a few seconds more"
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["moco", "simclr"])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes of every run")
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    for name in args.rows:
        if not summary(args.out / name).get("finished") and time.monotonic() < deadline:
            go_on(name, args, deadline)
    print(table(args), flush=True)
    done = all(summary(args.out / name).get("finished") for name in args.rows)
    print("all done" if done else "not done: call again to go on", flush=True)
    return os.EX_OK if done else UNFINISHED


if __name__ == "__main__":
    raise SystemExit(main())
