"""All calls of `time_to_accuracy.py` that a fair answer needs, unattended, for some minutes at a time.

    python benchmarks/time_to_accuracy_plan.py --root data/cifar10 --lightly DIR [--minutes 90] [--out DIR]
        [--race 30] [--sslkit-race 10] [--tune 5] [--calibrate 60] [--threads 2] [--list]

Ends with 0 when all is done and with 3 when `--minutes` are up; the same command goes on, in the midst of a race too:

    until python benchmarks/time_to_accuracy_plan.py --root data/cifar10 --lightly DIR; do :; done

1. `workers-N`: lightly's images a second with 0, 1 and 2 loader processes; the best goes on.
2. `lightly-NAME`, `sslkit-NAME`: as many settings of each side, `--tune` minutes each, alone. Training sees the first
   45,000 training images, and the k-NN on the last 5,000 decides.
3. `race-SIDE-first`: the best of each, in turns, both orders, lightly for `--race` minutes.
4. `without-LEVER`: sslkit's side of the race alone, each lever taken away in turn.

`table` is printed at the end of every call. No test image is looked at. Nothing else should run on those cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from time_to_accuracy import UNFINISHED

SCRIPT = Path(__file__).with_name("time_to_accuracy.py")
WORKERS = (0, 1, 2)
LIGHTLY: dict[str, tuple[str, ...]] = {
    "lars-2": ("--lightly-lr", "2.0"),
    "lars-1": ("--lightly-lr", "1.0"),
    "lars-2-batch-256": ("--lightly-lr", "2.0", "--lightly-batch", "256"),
    "sgd-0.12": ("--lightly-optimizer", "sgd", "--lightly-lr", "0.12"),
    "sgd-0.12-batch-256": ("--lightly-optimizer", "sgd", "--lightly-lr", "0.12", "--lightly-batch", "256"),
    "sgd-0.03": ("--lightly-optimizer", "sgd", "--lightly-lr", "0.03"),
}
"""Settings of lightly: LARS as its SimCLR has it, SGD with the rate of its CIFAR-10 benchmark (0.06 of 512) and 4 x."""
SSLKIT: dict[str, tuple[str, ...]] = {
    "lars-2": (),
    "lars-1": ("optimizer.lr=1.0",),
    "lars-2-batch-256": ("batch_size=256",),
    "size-24": ("views.global.size=24",),
    "bfloat16": ("precision=bfloat16",),
    "size-24-bfloat16-batch-256": ("views.global.size=24", "precision=bfloat16", "batch_size=256"),
}
"""Settings of sslkit, as many: rate and batch alike; crops of fewer pixels and half the bits, which take less time."""
LEVERS: dict[str, str] = {
    "views.global.size": "views.global.size=32", "precision": "precision=float32", "batch_size": "batch_size=512",
}  # fmt: skip
"""What a setting may have changed -> the change that takes it away."""


class Stage(NamedTuple):
    """A call of `time_to_accuracy.py`."""

    name: str
    words: tuple[str, ...]


def results(out: Path, name: str) -> dict[str, Any]:
    """What the stage `name` came to; empty where it is not done."""
    path = out / name / "results.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def rate(out: Path, name: str, side: str) -> float | None:
    """Images a second that the stage measured."""
    path = out / name / "state.json"
    rates = json.loads(path.read_text()).get("rates", {}) if path.exists() else {}
    return float(rates[side]) if side in rates else None


def last(out: Path, name: str) -> float | None:
    """Accuracy at the end of a stage of one side."""
    marks = results(out, name).get("marks")
    return float(max(marks, key=lambda mark: mark["seconds"])["accuracy"]) if marks else None


def best(scores: Mapping[str, float | None]) -> str | None:
    """The highest; None until all are there."""
    known = {name: score for name, score in scores.items() if score is not None}
    return max(known, key=lambda name: known[name]) if len(known) == len(scores) else None


class Chosen(NamedTuple):
    """What tuning chose, as far as it has come."""

    workers: str | None
    lightly: str | None
    sslkit: str | None


def chosen(out: Path) -> Chosen:
    """Of the stages that are done."""
    return Chosen(
        best({str(n): rate(out, f"workers-{n}", "lightly") for n in WORKERS}),
        best({name: last(out, f"lightly-{name}") for name in LIGHTLY}),
        best({name: last(out, f"sslkit-{name}") for name in SSLKIT}),
    )


def of_sslkit(name: str, *more: str) -> tuple[str, ...]:
    """The setting `name` with further changes."""
    changes = (*SSLKIT[name], *more)
    return ("--set", *changes) if changes else ()


def without(name: str) -> dict[str, tuple[str, ...]]:
    """Lever of the setting `name` -> the race's words without it."""
    changed = {change.partition("=")[0] for change in SSLKIT[name]}
    return {lever: of_sslkit(name, away) for lever, away in LEVERS.items() if lever in changed}


def stages(args: argparse.Namespace) -> list[Stage]:
    """All that can be told by now, in their order."""
    now, tune = chosen(args.out), ("--minutes", str(args.tune), "--marks", "3")
    plan = [
        Stage(f"workers-{n}", ("--only", "lightly", "--rates", "--lightly-workers", str(n))) for n in WORKERS
    ]
    if now.workers is None:
        return plan
    workers = ("--lightly-workers", now.workers)
    plan += [
        Stage(f"lightly-{name}", ("--only", "lightly", *workers, *words, *tune))
        for name, words in LIGHTLY.items()
    ]
    plan += [Stage(f"sslkit-{name}", ("--only", "sslkit", *of_sslkit(name), *tune)) for name in SSLKIT]
    if now.lightly is None or now.sslkit is None:
        return plan
    minutes = ("--minutes", str(args.race), "--sslkit-minutes", str(args.sslkit_race))
    race = (*workers, *LIGHTLY[now.lightly], *of_sslkit(now.sslkit), *minutes)
    plan += [Stage(f"race-{side}-first", ("--first", side, *race)) for side in ("sslkit", "lightly")]
    alone = ("--only", "sslkit", *minutes)
    return plan + [
        Stage(f"without-{lever}", (*alone, *words)) for lever, words in without(now.sslkit).items()
    ]


def is_done(stage: Stage, out: Path) -> bool:
    """Whether its call ended well."""
    if "--rates" in stage.words:
        return rate(out, stage.name, "lightly") is not None
    return bool(results(out, stage.name))


def call(stage: Stage, args: argparse.Namespace, minutes: float) -> int:
    """Make, or go on with, a stage; its exit code."""
    lightly = ["--lightly", str(args.lightly)] if args.lightly else []
    words = [
        sys.executable, str(SCRIPT), "--root", str(args.root), "--out", str(args.out / stage.name), *lightly,
        "--calibrate", str(args.calibrate), "--turn", str(args.turn), "--threads", str(args.threads),
        "--budget", f"{minutes:.2f}", *stage.words,
    ]  # fmt: skip
    return subprocess.run(words, check=False).returncode


def table(args: argparse.Namespace) -> str:
    """What every stage came to."""
    lines = [
        "| stage | images/s | k-NN at the end | lightly's end reached after, min | ratio |",
        "|---|---|---|---|---|",
    ]
    for stage in stages(args):
        if not is_done(stage, args.out):
            continue
        state = json.loads((args.out / stage.name / "state.json").read_text())
        rates = ", ".join(f"{side} {value:.0f}" for side, value in state["rates"].items())
        reached, ratio = of_race(results(args.out, stage.name))
        accuracy = last(args.out, stage.name) if "--only" in stage.words else None
        shown = "" if accuracy is None else f"{100 * accuracy:.1f}"
        lines.append(f"| `{stage.name}` | {rates} | {shown} | {reached} | {ratio} |")
    return "\n".join(lines)


def of_race(found: Mapping[str, Any]) -> tuple[str, str]:
    """(minutes of sslkit until what lightly had at its end, ratio); empty where both did not run."""
    ends = [mark for mark in found.get("marks", ()) if mark["side"] == "lightly"]
    if not ends:
        return "", ""
    goal = max(ends, key=lambda mark: mark["seconds"])["accuracy"]
    line = next((one for one in found["reached"] if one["accuracy"] == goal), None)
    if line is None or line["sslkit"] is None:
        return "not reached", ""
    return f"{line['sslkit'] / 60:.1f}", "" if line["ratio"] is None else f"{line['ratio']:.2f}"


def main(words: Sequence[str] | None = None) -> int:
    """Go on until all is done or time is up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder of CIFAR-10")
    parser.add_argument("--lightly", type=Path, metavar="DIR", help="folder that lightly was installed into")
    parser.add_argument("--minutes", type=float, default=90.0, help="of this call")
    parser.add_argument("--race", type=float, default=30.0, help="minutes of lightly in a race")
    parser.add_argument("--sslkit-race", type=float, default=10.0, help="minutes of sslkit in a race")
    parser.add_argument("--tune", type=float, default=5.0, help="minutes of each setting that is tried")
    parser.add_argument("--calibrate", type=float, default=60.0, help="seconds for a rate")
    parser.add_argument("--turn", type=float, default=20.0, help="seconds of a turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/time_to_accuracy_plan"))
    parser.add_argument("--list", action="store_true", help="the stages that are known by now")
    args = parser.parse_args(words)
    if args.list:
        print(
            "\n".join(
                f"{stage.name:<28} {'done' if is_done(stage, args.out) else 'to do'}"
                for stage in stages(args)
            )
        )
        return os.EX_OK
    until = time.monotonic() + 60 * args.minutes
    while (stage := next((one for one in stages(args) if not is_done(one, args.out)), None)) is not None:
        left = (until - time.monotonic()) / 60
        if left <= 0:
            break
        print(f"{stage.name}, {left:.1f} min left", flush=True)
        code = call(stage, args, left)
        if code not in (os.EX_OK, UNFINISHED):
            return code
        if code == os.EX_OK and not is_done(stage, args.out):
            return os.EX_UNAVAILABLE  # lightly is not installed, which it said
    print(table(args))
    return os.EX_OK if stage is None else UNFINISHED


if __name__ == "__main__":
    raise SystemExit(main())
