"""All that is to be measured on a GPU, unattended, in parts of nine minutes that go on where they stopped.

    python benchmarks/gpu.py --root data/cifar10 [--part N] [--minutes 9] [--out runs/gpu] [--peak-tflops T] [--tiny]
    python benchmarks/gpu.py --list
    python benchmarks/gpu.py --table

A call makes what is missing of part N, or of all parts in their order, the most telling first, and ends with 0 when
nothing is missing there, with 3 when time was up. So the whole of it is

    until python benchmarks/gpu.py --root data/cifar10; do :; done

Each measurement is a line of `results.jsonl`, on the disk before the next one begins; what fails is a line with its
reason, and is tried once more by the next call. Parts of published rows are training runs (`cifar10_table.py`), which
stop when time is up and resume exactly.

Steps are those of the trainer on images that are there; `reference` is a step by hand, eager, of the structure of the
official code (`gpu_references.py`), with the ratio to it in the table. `from memory` crops and colors uint8 images on
the device; `from shards` reads JPEG files of 500 x 375 pixels from tar files, which it writes first.
MFU: FLOPs of matrix products and convolutions, forward and backward, over what the device could do (known for some
GPUs, else `--peak-tflops`). `--tiny` goes through the same on a CPU, at sizes that say nothing but that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cifar10_table
import numpy as np
import torch
from gpu_references import MADE
from gpu_shards import measured_shards, write_shards
from gpu_steps import How, measured_feed, measured_step

RESULTS = "results.jsonl"
UNFINISHED = 3
TRIES = 2
"""Failures after which a measurement is given up."""
LEAST = 120.0
"""Seconds that must be left for a measurement to begin."""
PEAKS = {
    "B200": 2250, "H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "RTX 4090": 165,
}  # fmt: skip
"""Name -> dense bfloat16 TFLOP/s, from the vendor's data sheets; the first that fits."""
TINY_ROW = (
    "device=cpu", "backbone.name=test_resnet", "backbone.stem=named", "epochs=1", "batch_size=64", "evaluate.0.k=20",
    "log.flops=false", "log.figures=false",
)  # fmt: skip
MODES = ("eager", "compiled", "reference")
FEEDS = ("feed", "step")


class Part(NamedTuple):
    """Measurements that fit into nine minutes, or runs that go on."""

    title: str
    kind: str
    """`steps`, `memory`, `shards` or `row`."""
    names: tuple[str, ...]


PARTS = (
    Part("steps of MAE", "steps", ("mae_vit_b", "mae_vit_l")),
    Part(
        "steps of SimCLR and a hybrid",
        "steps",
        ("simclr_r50", "simclr_r18_cifar", "hybrid_mae_infonce_vit_b"),
    ),
    Part("steps of DINO, iBOT and SimMIM", "steps", ("dino_vit_s", "ibot_vit_s", "simmim_vit_b")),
    Part("images from memory", "memory", ("simclr_r18_cifar", "simclr_r50", "mae_vit_b", "dino_vit_s")),
    Part("images from JPEG shards", "shards", ("simclr_r50", "mae_vit_b", "dino_vit_s")),
    Part("CIFAR-10, SimCLR: published 84.8", "row", ("simclr",)),
    Part("CIFAR-10, MoCo: published 85.3", "row", ("moco",)),
)


class Task(NamedTuple):
    """A line to come."""

    part: int
    kind: str
    name: str
    mode: str


def tasks(number: int) -> list[Task]:
    """Of part `number`, from 1."""
    part = PARTS[number - 1]
    modes = {"steps": MODES, "memory": FEEDS, "shards": FEEDS, "row": ("run",)}[part.kind]
    return [
        Task(number, part.kind, name, mode)
        for name in part.names
        for mode in modes
        if mode != "reference" or name in MADE
    ]


def read(out: Path) -> list[dict[str, Any]]:
    """The lines so far; one that a crash cut short is left out."""
    lines = []
    for line in (out / RESULTS).read_text().splitlines() if (out / RESULTS).exists() else []:
        try:
            lines.append(dict(json.loads(line)))
        except ValueError:
            continue
    return lines


def append(out: Path, line: dict[str, Any]) -> None:
    """Put `line` on the disk, on a line of its own even after one that was cut short."""
    path = out / RESULTS
    cut = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a") as file:
        file.write(("\n" if cut else "") + json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def missing(out: Path, number: int) -> list[Task]:
    """What part `number` lacks."""
    lines = read(out)
    done = {key(one) for one in lines if one.get("done")}
    failures = Counter(key(one) for one in lines if "error" in one)
    return [
        task
        for task in tasks(number)
        if key(task._asdict()) not in done and failures[key(task._asdict())] < TRIES
    ]


def key(line: Mapping[str, Any]) -> tuple[int, str, str]:
    """What tells measurements apart."""
    return line["part"], line["name"], line["mode"]


def measure(task: Task, args: argparse.Namespace, deadline: float) -> dict[str, Any]:
    """What is to be written of `task`."""
    if task.kind == "row":
        return _row(task.name, args, deadline)
    how = How(torch.device(args.device), args.tiny, 0.0 if args.tiny else args.seconds, _peak(args))
    if task.kind == "shards":
        shards = write_shards(args.out / ("shards-tiny" if args.tiny else "shards"), args.tiny)
        return {"done": True, **measured_shards(task.name, task.mode, how, shards)}
    function = measured_step if task.kind == "steps" else measured_feed
    return {"done": True, **function(task.name, task.mode, how)}


def _row(name: str, args: argparse.Namespace, deadline: float) -> dict[str, Any]:
    """A published row, as far as it gets until `deadline`."""
    row = argparse.Namespace(out=args.out / "rows", root=args.root, set=[f"device={args.device}"])
    if args.tiny:
        row.root, row.set = noise_cifar10(args.out), list(TINY_ROW)
    cifar10_table.go_on(name, row, deadline)
    now = cifar10_table.summary(row.out / name)
    if not now:
        return {"done": False, "note": "time was up before the first checkpoint"}
    metric = cifar10_table.METRIC
    best = now["best"].get(metric)
    return {
        "done": bool(now["finished"]),
        "published": cifar10_table.ROWS[name].published,
        "epoch": now["epoch"],
        "last": now["metrics"].get(metric),
        "best": None if best is None else best["value"],
        "seconds": now["seconds"],
        "images_per_s": now["metrics"].get("images_per_s"),
        "peak_memory_mib": now["peak_memory_mib"],
    }


def noise_cifar10(out: Path) -> Path:
    """Noise in the official layout of CIFAR-10, below `out`: 200 training images and 40 of test, of ten classes."""
    folder = out / "noise" / "cifar-10-batches-py"
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        content = {
            "data": random.integers(0, 256, (40, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(40)],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder.parent


def _peak(args: argparse.Namespace) -> float | None:
    """FLOP/s that the device could do."""
    if args.peak_tflops is not None:
        return 1e12 * args.peak_tflops
    if args.device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((1e12 * peak for part, peak in PEAKS.items() if part in name), None)


def _machine(args: argparse.Namespace) -> dict[str, str]:
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    return {"device": device, "torch": torch.__version__, "time": time.strftime("%Y-%m-%dT%H:%M:%S")}


def go_on(number: int, args: argparse.Namespace, deadline: float) -> bool:
    """Make what part `number` lacks, until time is up; whether nothing is lacking any more."""
    print(f"part {number}: {PARTS[number - 1].title}", flush=True)
    for task in missing(args.out, number):
        if deadline - time.monotonic() < min(LEAST, 30 * args.minutes):
            break
        try:
            result = measure(task, args, deadline)
        except Exception as error:  # one that fails must not cost the others
            result = {"done": False, "error": f"{type(error).__name__}: {error}"[:500]}
        line = {**task._asdict(), **result, "tiny": args.tiny, **_machine(args)}
        append(args.out, line)
        print(shown(line), flush=True)
    return not missing(args.out, number)


def compared(
    line: dict[str, Any], latest: Mapping[tuple[int, str, str], Mapping[str, Any]]
) -> dict[str, Any]:
    """`line` with how many times as fast as the reference it is, where both were measured at one batch."""
    other = latest.get((line["part"], line["name"], "reference"), {})
    both = line["mode"] in MODES[:2] and bool(line.get("done") and other.get("done"))
    if not both or line["batch"] != other["batch"]:
        return line
    return {**line, "ratio": other["step_ms"] / line["step_ms"]}


COLUMNS = {
    "batch": "{:d}", "step_ms": "{:.1f} ms", "images_per_s": "{:,.0f} images/s", "tflop_per_s": "{:.1f} TFLOP/s",
    "ratio": "{:.2f} x the reference", "mfu": "MFU {:.1%}", "peak_memory_mib": "{:,.0f} MiB", "epoch": "epoch {:.1f}",
    "last": "k-NN {:.2%}", "published": "published {}", "error": "failed: {}", "note": "{}",
}  # fmt: skip


def shown(line: dict[str, Any]) -> str:
    """A line for people."""
    cells = [form.format(line[key]) for key, form in COLUMNS.items() if line.get(key) is not None]
    return f"{line['part']} | {line['name']} | {line['mode']} | {' | '.join(cells)}"


def listed(out: Path) -> Iterator[str]:
    """Every part, with how much of it is done."""
    for number, part in enumerate(PARTS, 1):
        whole = tasks(number)
        yield f"{number}  {len(whole) - len(missing(out, number))}/{len(whole)}  {part.title}: {', '.join(part.names)}"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What may be asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part", type=int, choices=range(1, len(PARTS) + 1), help="default: all, in their order"
    )
    parser.add_argument("--list", action="store_true", help="the parts, and how much of each is done")
    parser.add_argument("--table", action="store_true", help="the latest line of each measurement")
    parser.add_argument("--root", type=Path, help="the folder of CIFAR-10, for the published rows")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="of a call; saving takes a few seconds more"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of timed steps a measurement")
    parser.add_argument(
        "--peak-tflops", type=float, help="of the device, dense, in the precision that runs take"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--tiny", action="store_true", help="on a CPU, at tiny sizes")
    args = parser.parse_args(words)
    args.device = "cpu" if args.tiny else "cuda"
    return args


def main(words: Sequence[str] | None = None) -> int:
    """List, show, or go on with a part."""
    args = arguments(words)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.list:
        print("\n".join(listed(args.out)))
        return os.EX_OK
    if args.table:
        latest = {key(one): one for one in read(args.out)}
        print("\n".join(shown(compared(line, latest)) for _, line in sorted(latest.items())))
        return os.EX_OK
    wanted = [args.part] if args.part else range(1, 1 + len(PARTS))
    numbers = [number for number in wanted if missing(args.out, number)]
    if numbers and not args.tiny and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here that torch can use; --tiny goes through it all on a CPU")
    rows = [number for number in numbers if PARTS[number - 1].kind == "row"]
    if rows and args.root is None and not args.tiny:
        raise SystemExit(f"part {rows[0]} trains on CIFAR-10: give its folder with --root")
    deadline = time.monotonic() + 60 * args.minutes
    done = True
    for number in numbers:
        done &= go_on(number, args, deadline)
    print("done" if done else "not done: call again to go on", flush=True)
    return os.EX_OK if done else UNFINISHED


if __name__ == "__main__":
    raise SystemExit(main())
