"""Where in a network the terms of a hybrid pull apart: cosines of their gradients by depth, at every checkpoint.

    python benchmarks/conflict_by_depth.py RUN [RUN ...] [--batches 8] [--batch-size N] [--checkpoints 3]

Restores each run at some of its checkpoints, evenly over training, makes the forward of as many further batches as are
asked for and differentiates each term on its own; nothing is updated. For every pair of terms and every depth (the
blocks of a transformer, the stages of a ResNet) it prints the mean cosine and the share of batches in which it is below
0. Runs keep the checkpoints that `checkpoint.keep` says.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.build.maskers import make_maskers
from sslkit.build.restore import Restored, restore
from sslkit.build.system import length_of
from sslkit.core.system import Stepped
from sslkit.data.crops import Pipeline
from sslkit.data.loaders import Batch, ResidentFeed
from sslkit.data.sampler import BatchShare, Order
from sslkit.functional import gradient_weights
from sslkit.runs.checkpoint import FOLDER, Checkpoints
from sslkit.runs.lock import read_lock
from sslkit.runtime.parallel import Single
from sslkit.specs.load import changed, parse
from sslkit.train.step.stepper import Stepper

CPU = torch.device("cpu")
PARTS = re.compile(r"(?:^|\.)(blocks|stages|layers?)[._]?(\d+)\.")
"""Of timm's names: `blocks.3.`, `stages.1.`, `layer2.`, `layers_0.`; the first is the depth."""


class Cell(NamedTuple):
    """Two terms at one depth of one checkpoint."""

    step: int
    pair: str
    depth: str
    cosines: tuple[float, ...]
    """Of every batch in which both have a gradient there."""


class NoUpdateError(Exception):
    """Ends a step before it changes anything."""


def depth_of(name: str) -> str:
    """The block or stage that a parameter belongs to."""
    match = PARTS.search(name)
    return f"{match[1].rstrip('s')} {match[2]}" if match else "before and after"


def grams(stepped: Stepped, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Depth -> `[K, K]`, products of the terms' gradients."""
    names = list(parameters)
    rows: dict[str, list[list[Tensor]]] = {}
    for i, loss in enumerate(stepped.losses):
        found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
        for name, gradient in zip(names, found, strict=True):
            row = rows.setdefault(depth_of(name), [[] for _ in stepped.losses])[i]
            row.append(
                (torch.zeros_like(parameters[name]) if gradient is None else gradient).flatten().double()
            )
    joined = {depth: torch.stack([torch.cat(row) for row in parts]) for depth, parts in rows.items()}
    return {depth: rows_KP @ rows_KP.mT for depth, rows_KP in joined.items()}


def stepper_of(restored: Restored, run: Path) -> Stepper:
    """The trainer's step at the restored weights."""
    resolved = read_lock(run)["resolved"]
    length = length_of(restored.spec, int(resolved["steps"]), int(resolved["steps_per_epoch"]))
    return Stepper(
        restored.spec, restored.system, make_maskers(restored.system, restored.env), length, Single(CPU)
    )


def batches_of(restored: Restored, size: int, step: int, count: int) -> Iterator[list[Batch]]:
    """Training batches of the steps after `step`. Raises SystemExit where the images are not in memory."""
    source = restored.spec.data.build("train")
    images = None if source is None else source.resident()
    if images is None:
        raise SystemExit(
            f"{restored.spec.data.kind_name()}: its images are not held in memory, which this needs"
        )
    order = Order(len(images), size, restored.spec.seed, BatchShare(0, 1, size))
    feed = ResidentFeed(images, order, Pipeline(restored.spec.views, restored.views, restored.spec.seed), CPU)
    for number in range(step, step + count):
        yield list(feed.step(number))


def measured(run: Path, checkpoint: str, step: int, count: int, size: int | None) -> list[Cell]:
    """All pairs at all depths of one checkpoint."""
    restored = restore(run, checkpoint)
    fields = restored.spec.model_dump(mode="json", exclude_unset=True)
    size = size or restored.spec.batch_size
    restored.spec = parse(changed(fields, [("device", "cpu"), ("batch_size", size)]), began=True)
    stepper, seen = stepper_of(restored, run), list[dict[str, Tensor]]()
    student = {n: p for n, p in restored.system.nets["student"].named_parameters() if p.requires_grad}

    def add(stepped: Stepped, share: float, measured: bool) -> None:
        seen.append(grams(stepped, student))
        raise NoUpdateError

    stepper.backward.add = add  # type: ignore[method-assign]
    for number, batches in enumerate(batches_of(restored, size, step, count)):
        try:
            stepper(step + number, batches)
        except NoUpdateError:
            continue
    return list(cells(step, restored.system.terms, seen))


def cells(step: int, terms: Sequence[str], seen: Sequence[Mapping[str, Tensor]]) -> Iterator[Cell]:
    """Cosines by pair and depth; a depth that one of the two does not reach has none."""
    for (i, one), (j, two) in combinations(enumerate(terms), 2):
        for depth in seen[0]:
            both = [gram[depth] for gram in seen if gram[depth][i, i] > 0 and gram[depth][j, j] > 0]
            cosines = tuple(float(gradient_weights.cosines(gram)[i, j]) for gram in both)
            if cosines:
                yield Cell(step, f"{one}, {two}", depth, cosines)


def table(made: Sequence[Cell]) -> str:
    """A line for each pair and depth, a column for each checkpoint: mean cosine, share of batches in conflict."""
    steps = sorted({one.step for one in made})
    head = ["terms", "depth", *(f"step {step}" for step in steps)]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for pair, depth in dict.fromkeys((one.pair, one.depth) for one in made):
        shown = {
            one.step: f"{sum(one.cosines) / len(one.cosines):+.3f}, "
            f"{100 * sum(c < 0 for c in one.cosines) / len(one.cosines):.0f} %"
            for one in made
            if (one.pair, one.depth) == (pair, depth)
        }
        lines.append(" | ".join([pair, depth, *(shown.get(step, "") for step in steps)]))
    return "\n".join(f"| {line} |" for line in lines)


def some(everything: Sequence[Path], count: int) -> list[Path]:
    """`count` of them, evenly from the first to the last."""
    if count >= len(everything):
        return list(everything)
    places = [round(i * (len(everything) - 1) / max(count - 1, 1)) for i in range(count)]
    return [everything[place if count > 1 else -1] for place in places]


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print, run by run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch-size", type=int, help="default: the run's")
    parser.add_argument("--checkpoints", type=int, default=3, help="of each run, the last among them")
    args = parser.parse_args(words)
    for run in args.runs:
        made: list[Cell] = []
        for path in some(list(Checkpoints(run / FOLDER).all()), args.checkpoints):
            step = int(path.name.rpartition("-")[2])
            made += measured(run, path.name, step, args.batches, args.batch_size)
        if not made:
            raise SystemExit(f"{run}: no checkpoint of a run with two terms or more")
        print(f"{run}\n\n{table(made)}\n")


if __name__ == "__main__":
    main()
