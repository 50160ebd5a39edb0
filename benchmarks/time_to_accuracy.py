"""Time to accuracy: a recipe of sslkit against SimCLR of lightly, the same network in turns on the same cores.

    python benchmarks/time_to_accuracy.py --root data/cifar10 --lightly DIR --minutes 30
        [--sslkit-minutes 10] [--spec FILE[:ROW]] [--set KEY=VALUE ...] [--only sslkit] [--rates] [--test] [--out DIR]
        [--budget 90]

1. Rates: both train for `--calibrate` seconds, in turns A B B A, one stopped with its workers while the other runs.
   With `--rates` that is all.
2. Race: each gets as many steps as its rate makes in its minutes, and anneals its rate over them. Turns again.
3. Scores: k-NN (`knn@1`) of all weights that were written on the way, of both sides by the same code, outside of the
   clock. Training sees the first 45,000 training images, and the last 5,000 are scored; with `--test` it sees all, and
   the test images are scored: that is for recipes that are settled.

The clock of a side runs from the start of its process: imports, decoding of the images and checkpoints included. sslkit
is `sslkit run` of the spec, without evaluations and figures; lightly's side is `lightly_simclr.py`. What is tuned for
lightly: `--lightly-workers`, `--lightly-batch`, `--lightly-lr`, `--lightly-optimizer`.
`results.json` and `figure.png` are in `--out`. After `--budget` minutes of the whole call both sides save and end, the
exit code is 3, and the same command goes on: with the race, whose clocks count the second start of both, or with the
scores that are missing. A call that was killed begins the race anew. `time_to_accuracy_plan.py` makes all calls.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import turns
from lightly_simclr import ABSENT, add_arguments, installed, network_of

from sslkit.build.restore import restore
from sslkit.build.system import make_views
from sslkit.core.source import Source
from sslkit.evaluate.encoders import net_encoder
from sslkit.evaluate.features import Loading, rows
from sslkit.functional.nearest_neighbors import nearest
from sslkit.runs.checkpoint import FOLDER, STATE, Checkpoints, step_of
from sslkit.runtime.parallel import Single
from sslkit.specs.load import changed as with_changes
from sslkit.specs.load import dump, parse, read_assignments, read_yaml
from sslkit.specs.run import RunSpec
from sslkit.specs.sweep import grid, read_sweep_spec

HERE = Path(__file__).parent
SWEEP = HERE.parent / "examples" / "cifar10_cpu.yaml"
SIDES = ("sslkit", "lightly")
HELD_OUT = 5_000
"""Training images at the end that are scored in place of the test images, and not trained on."""
TRAINING = 50_000
TARGETS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80)
K, TEMPERATURE = 20, 0.07
"""Of `knn@1`."""
UNFINISHED = 3
"""Exit code where time was up."""
SHORT = ("evaluate=[]", "log.figures=false", "log.loggers=[]", "epochs=null", "checkpoint.keep=1000000")
"""A training run alone, of which all checkpoints are kept."""


class Mark(NamedTuple):
    """Weights that were written on the way."""

    side: str
    step: int
    seconds: float
    """Of its own clock."""
    accuracy: float | None = None


def spec_of(args: argparse.Namespace) -> RunSpec:
    """The recipe: a spec, or a row of a sweep, on the images that may be seen."""
    default = f"{SWEEP}:simclr" if SWEEP.is_file() else str(HERE / "time_to_accuracy.yaml")
    file, _, row = (args.spec or default).partition(":")
    fields: dict = read_yaml(Path(file))
    if row:
        cells = grid(read_sweep_spec(Path(file)), last=[("data.root", str(args.root))]).cells
        fields = next(cell.spec for cell in cells if cell.values.get("row") == row).model_dump(
            mode="json", exclude_unset=True
        )
    limit = () if args.test else (f"data.limit={TRAINING - HELD_OUT}",)
    changes = read_assignments(["device=cpu", *limit, *args.set])
    return parse(with_changes(fields, [("data.root", str(args.root)), *changes]))


def commands(
    args: argparse.Namespace, folder: Path, steps: Mapping[str, int], every: Mapping[str, int]
) -> dict[str, list[str]]:
    """How each side is started, in the order of the turns."""
    python, spec = sys.executable, str(args.out / "spec.yaml")
    run = [f"steps={steps['sslkit']}", f"checkpoint.every={every['sslkit']} steps"]
    options = [
        "--steps", str(steps["lightly"]), "--every", str(every["lightly"]), "--workers", str(args.lightly_workers),
        "--optimizer", args.lightly_optimizer,
    ]  # fmt: skip
    options += ["--lightly", str(args.lightly)] if args.lightly else []
    options += ["--batch", str(args.lightly_batch)] if args.lightly_batch else []
    options += ["--lr", str(args.lightly_lr)] if args.lightly_lr else []
    script, outs = str(HERE / "lightly_simclr.py"), {side: str(folder / side) for side in SIDES}
    both = {
        "sslkit": [python, "-m", "sslkit", "run", spec, *run, *SHORT, "--out", outs["sslkit"]],
        "lightly": [python, script, "--spec", spec, "--out", outs["lightly"], *options],
    }
    return {side: both[side] for side in racing(args)}


def racing(args: argparse.Namespace) -> list[str]:
    """The sides that run, the first of all first."""
    return [args.only] if args.only else sorted(SIDES, key=lambda side: side != args.first)


def batches(args: argparse.Namespace, spec: RunSpec) -> dict[str, int]:
    """Images of a step."""
    return {"sslkit": spec.batch_size, "lightly": args.lightly_batch or spec.batch_size}


def written(folder: Path, side: str) -> Iterator[tuple[int, Path]]:
    """(step, file) of the weights of `side`, oldest first."""
    if side == "lightly":
        for path in sorted((folder / side).glob("step-*.pt")):
            yield int(path.stem.removeprefix("step-")), path
    else:
        for path in Checkpoints(folder / side / FOLDER).all():
            yield step_of(path), path / STATE


def marks(folder: Path, side: str, slices: turns.Slices) -> list[Mark]:
    """The weights of `side`, by its own clock; what it saved when it was asked to end came after that."""
    times = [(step, path.stat().st_mtime) for step, path in written(folder, side)]
    return [Mark(side, step, turns.active(slices, when)) for step, when in times if when <= slices[-1][1]]


def rates(args: argparse.Namespace, spec: RunSpec) -> dict[str, float]:
    """Images a second of each side, from its first to its last weights, so that its start does not count."""
    folder, long, often = args.out / "rates", dict.fromkeys(SIDES, 10**6), dict.fromkeys(SIDES, args.every)
    shutil.rmtree(folder, ignore_errors=True)
    turn = args.calibrate / 4
    slices = race(args, folder, long, often, seconds=turn, limit=args.calibrate).slices
    found = {}
    for side, when in slices.items():
        seen = marks(folder, side, when)
        if len(seen) < 2:
            raise SystemExit(
                f"{side} made no {2 * args.every} steps in {args.calibrate:g} s; --calibrate longer"
            )
        steps, seconds = seen[-1].step - seen[0].step, seen[-1].seconds - seen[0].seconds
        found[side] = steps * batches(args, spec)[side] / seconds
    return found


def race(
    args: argparse.Namespace,
    folder: Path,
    steps: Mapping[str, int],
    every: Mapping[str, int],
    *,
    seconds: float,
    limit: float = float("inf"),
    until: float = float("inf"),
    earlier: Mapping[str, turns.Slices] | None = None,
) -> turns.Taken:
    """Let the sides run in turns, on from `earlier` ones."""
    folder.mkdir(parents=True, exist_ok=True)
    threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return turns.take_turns(
        commands(args, folder, steps, every), folder, threads, seconds=seconds, limit=limit, until=until,
        earlier=earlier,
    )  # fmt: skip


def splits(args: argparse.Namespace, spec: RunSpec) -> tuple[Source, torch.Tensor, Source, torch.Tensor]:
    """The labeled images that vote and those that are scored: a source and places in it, twice."""
    whole = spec.data.model_copy(update={"limit": None})
    train = whole.build("train")
    assert train is not None, "CIFAR-10 has one"
    places = torch.arange(len(train))
    if args.test:
        test = whole.build("test")
        assert test is not None, "CIFAR-10 has one"
        return train, places, test, torch.arange(len(test))
    return train, places[:-HELD_OUT], train, places[-HELD_OUT:]


def score(spec: RunSpec, backbone, images: tuple[Source, torch.Tensor, Source, torch.Tensor]) -> float:
    """Accuracy of `knn@1` on what `backbone` says of `images`."""
    from sslkit_evaluators.probes.knn import rank_classes, vote

    view = make_views(spec, 3)[spec.first_view]
    loading = Loading(
        view, spec.readout.crop, spec.readout.batch_size, 0, Single(torch.device("cpu")), lambda *_: None
    )
    encode = net_encoder(backbone.eval(), spec.readout, contextlib.nullcontext)
    bank, queries = (
        rows(source, lambda x, _: encode(x), loading, places) for source, places in (images[:2], images[2:])
    )
    near = nearest(queries.values, bank.values, K)
    votes = vote(near.similarity, bank.labels[near.rows], len(bank.classes), TEMPERATURE)
    return float((rank_classes(votes)[:, 0] == queries.labels).double().mean())


def backbone_of(spec: RunSpec, folder: Path, mark: Mark):
    """The network of `mark`; at step 0 with its first weights."""
    if mark.step and mark.side == "sslkit":
        return restore(folder / "sslkit", f"step-{mark.step:08d}").net(spec.readout.net)
    backbone = network_of(spec)
    if mark.step:
        weights = torch.load(folder / "lightly" / f"step-{mark.step:08d}.pt", weights_only=True)
        backbone.net.load_state_dict(weights)
    return backbone


def scored(
    args: argparse.Namespace, spec: RunSpec, slices: Mapping[str, turns.Slices], until: float = float("inf")
) -> list[Mark] | None:
    """Every mark of the race with its accuracy; a line is kept of each, so that none is made twice.

    None where `until` has come before all are.
    """
    folder, file = args.out / "race", args.out / "scores.jsonl"
    kept = [Mark(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
    images = None
    for side, when in slices.items():
        for mark in [Mark(side, 0, 0.0), *marks(folder, side, when)]:
            if any((mark.side, mark.step) == (one.side, one.step) for one in kept):
                continue
            if time.time() >= until:
                return None
            images = images or splits(args, spec)
            first = [
                one.accuracy for one in kept if one.step == mark.step == 0
            ]  # both begin with the same network
            accuracy = first[0] if first else score(spec, backbone_of(spec, folder, mark), images)
            kept.append(mark._replace(accuracy=accuracy))
            with file.open("a") as lines:
                lines.write(json.dumps(kept[-1]._asdict()) + "\n")
            print(
                f"{side:<8} step {mark.step:>6}  {mark.seconds / 60:6.2f} min  {kept[-1].accuracy:.4f}",
                flush=True,
            )
    return sorted(kept, key=lambda mark: (mark.side, mark.seconds))


def reached(seen: Sequence[Mark], accuracy: float) -> float | None:
    """Seconds until `accuracy`, on straight lines between marks; None where it was never reached."""
    for before, after in pairwise(seen):
        low, high = before.accuracy or 0.0, after.accuracy or 0.0
        if low < accuracy <= high:
            return before.seconds + (after.seconds - before.seconds) * (accuracy - low) / (high - low)
    return None


def table(seen: Sequence[Mark]) -> list[dict[str, float | None]]:
    """When each side reached each target, and what lightly had at its end."""
    curves = {side: [mark for mark in seen if mark.side == side] for side in SIDES}
    last = [curve[-1].accuracy for curve in curves.values() if curve]
    targets = sorted({*TARGETS, *(curve[-1].accuracy or 0.0 for curve in [curves["lightly"]] if curve)})
    lines = []
    for target in targets:
        if target <= max(one or 0.0 for one in last):
            times = {side: reached(curve, target) for side, curve in curves.items()}
            both = None not in times.values()
            ratio = times["lightly"] / times["sslkit"] if both else None
            lines.append({"accuracy": target, **times, "ratio": ratio})
    return lines


def shown(lines: Sequence[Mapping[str, float | None]]) -> str:
    """The table for people: minutes."""

    def cell(value: float | None, share: float = 60.0) -> str:
        return "-" if value is None else f"{value / share:.2f}"

    head = "| k-NN | sslkit, min | lightly, min | lightly / sslkit |\n|---|---|---|---|"
    body = [
        f"| {line['accuracy']:.4f} | {cell(line['sslkit'])} | {cell(line['lightly'])} | {cell(line['ratio'], 1.0)} |"
        for line in lines
    ]
    return "\n".join([head, *body])


def draw(seen: Sequence[Mark], path: Path) -> None:
    """k-NN accuracy over minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for side in SIDES:
        curve = [mark for mark in seen if mark.side == side]
        axes.plot(
            [m.seconds / 60 for m in curve], [100 * (m.accuracy or 0) for m in curve], marker="o", label=side
        )
    axes.set(xlabel="minutes", ylabel="k-NN, %")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def machine() -> dict[str, str]:
    """Where, and with what."""
    versions = {}
    for name in ("torch", "lightly"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {"processor": platform.processor() or platform.machine(), "cores": str(os.cpu_count()), **versions}


class State:
    """What earlier calls came to; on the disk as soon as it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict = json.loads(path.read_text()) if path.exists() else {}

    def keep(self, **values: object) -> None:
        """Add `values`."""
        self.values |= values
        half = self.path.with_suffix(".half-written")
        half.write_text(json.dumps(self.values))
        half.replace(self.path)


def raced(args: argparse.Namespace, spec: RunSpec, state: State, until: float) -> bool:
    """Race, or go on with a race that was stopped; whether it is over."""
    minutes = {"sslkit": args.sslkit_minutes or args.minutes, "lightly": args.minutes}
    steps = {
        side: max(1, round(state.values["rates"].get(side, 0) * 60 * minutes[side] / size))
        for side, size in batches(args, spec).items()
    }
    every = {side: max(1, count // args.marks) for side, count in steps.items()}
    folder = args.out / "race"
    if state.values.get("race") != "stopped":  # a call that was killed did not write when it ran
        shutil.rmtree(folder, ignore_errors=True)
        state.keep(slices={})
    earlier = {side: [(begin, end) for begin, end in when] for side, when in state.values["slices"].items()}
    state.keep(race="running")
    taken = race(args, folder, steps, every, seconds=args.turn, until=until, earlier=earlier)
    state.keep(race="stopped" if taken.left else "over", slices=taken.slices)
    return not taken.left


def run(args: argparse.Namespace) -> bool:
    """Rates, race, scores; each is skipped where an earlier call made it. Whether all is done."""
    spec, until = spec_of(args), time.time() + 60 * args.budget
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "spec.yaml").write_text(dump(spec))
    state = State(args.out / "state.json")
    if "rates" not in state.values:
        state.keep(rates=rates(args, spec))
    for side, rate in state.values["rates"].items():
        print(f"{side:<8} {rate:7.1f} images/s", flush=True)
    if args.rates:
        return True
    if state.values.get("race") != "over" and not raced(args, spec, state, until):
        return False
    seen = scored(args, spec, state.values["slices"], until)
    if seen is None:
        return False
    lines = table(seen)
    print(shown(lines))
    draw(seen, args.out / "figure.png")
    results = {
        "settings": {key: str(value) for key, value in vars(args).items()},
        "spec": spec.model_dump(mode="json", exclude_unset=True),
        "machine": machine(),
        "images_per_s": state.values["rates"],
        "marks": [mark._asdict() for mark in seen],
        "reached": lines,
    }
    (args.out / "results.json").write_text(json.dumps(results, indent=1))
    return True


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What may be asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder of CIFAR-10")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, of each side")
    parser.add_argument(
        "--budget",
        type=float,
        default=float("inf"),
        help="minutes of this call; saving takes some seconds more",
    )
    parser.add_argument("--sslkit-minutes", type=float, help="of sslkit's side, where they differ")
    parser.add_argument(
        "--spec", metavar="FILE[:ROW]", help="the recipe (default: SimCLR of cifar10_cpu.yaml)"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--only", choices=SIDES, help="one side alone, as to take a lever away")
    parser.add_argument("--first", choices=SIDES, default="sslkit", help="who has the first turn")
    parser.add_argument("--rates", action="store_true", help="end with images a second")
    parser.add_argument("--test", action="store_true", help="train on all, score the test images")
    parser.add_argument("--threads", type=int, default=2, help="of torch, in the main process of each side")
    parser.add_argument("--turn", type=float, default=20.0, help="seconds of a turn")
    parser.add_argument("--calibrate", type=float, default=120.0, help="seconds of each side for its rate")
    parser.add_argument("--every", type=int, default=5, help="steps between weights while rates are measured")
    parser.add_argument("--marks", type=int, default=12, help="weights that are scored of each side")
    parser.add_argument("--lightly", type=Path, metavar="DIR", help="folder that lightly was installed into")
    add_arguments(parser, "--lightly-")
    parser.add_argument("--out", type=Path, default=Path("runs/time_to_accuracy"))
    return parser.parse_args(words)


def main() -> int:
    """Race, or say that there is nobody to race against."""
    args = arguments()
    if "lightly" in racing(args) and not installed(args.lightly):
        print(ABSENT)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends what it has stopped
    torch.set_num_threads(args.threads)
    if run(args):
        return os.EX_OK
    print("not done: call again to go on", flush=True)
    return UNFINISHED


if __name__ == "__main__":
    raise SystemExit(main())
