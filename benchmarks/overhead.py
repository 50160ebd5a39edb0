"""What the trainer costs over a hand-written loop of the same model, data and optimizer, side by side in one run.

    python benchmarks/overhead.py [--steps 10] [--rounds 40] [--spec examples/digits_mae.yaml]

Both loops make the same number of steps with the same network, batch size, augmentation and fused AdamW. They take
turns of a few steps, and turns are compared pair by pair, so a machine whose speed drifts does not favor either.
The hand-written loop draws masks and augmentation parameters with torch's generator, indexes the images, and has
none of sslkit's schedules, guards, records or per-image streams.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from sslkit.core.passes import Mask, Request
from sslkit.runtime.parallel import Single
from sslkit.specs.load import load
from sslkit.specs.run import RunSpec
from sslkit.train.trainer import Trainer
from sslkit.train.watch.progress import Progress


def hand_written(spec: RunSpec, trainer: Trainer) -> Callable[[int], None]:
    """A plain loop over deep copies of the same modules, as one would write it for this one model."""
    import copy

    system = copy.deepcopy(trainer.composed.system)
    net, objective = system.nets["student"], system.objectives["mae"]
    parameters = [p for p in system.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=1e-3, betas=(0.9, 0.95), fused=True,
    )  # fmt: skip
    images = trainer.composed.source.resident()
    assert images is not None
    view = trainer.composed.env.views["global"]
    mean, std = torch.tensor(view.mean)[:, None, None], torch.tensor(view.std)[:, None, None]
    patches = trainer.composed.env.grids["global"].patches
    kept = next(iter(trainer.stepper.masking.maskers.values())).visible
    assert kept is not None
    batch = spec.batch_size
    index = torch.arange(batch)[:, None] * patches
    pieces = trainer_augments(trainer)

    def steps(count: int) -> None:
        order = torch.randperm(len(images))
        losses = []
        for i in range(count):
            begin = i * batch % (len(images) - batch + 1)
            x = pieces(images[order[begin : begin + batch]].float() / 255)
            x = ((x - mean) / std)[None]
            noise = torch.rand(batch, patches).argsort(1)
            keep, gone = noise[:, :kept], noise[:, kept:]
            hidden = torch.ones(batch, patches, dtype=torch.bool).scatter(1, keep, False)
            per_image = torch.full((batch * (patches - kept),), patches - kept)
            mask = Mask(hidden[None], keep[None], (gone + index).flatten(), per_image)
            loss = objective({}, net([Request(x, mask, "drop", ())])[0]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
            if i % 10 == 9:
                losses[-1].item()

    return steps


def trainer_augments(trainer: Trainer) -> Callable[[torch.Tensor], torch.Tensor]:
    """Resize and a random affine map, or a random crop and flip, written by hand with torch alone."""
    size = trainer.composed.env.views["global"].size

    def apply(x: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(x, (size, size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        angle = (torch.rand(len(x)) - 0.5) * 0.35
        scale = 0.9 + 0.2 * torch.rand(len(x))
        shift = (torch.rand(2, len(x)) - 0.5) * 0.32
        cos, sin = angle.cos() / scale, angle.sin() / scale
        theta = torch.stack(
            [torch.stack([cos, -sin, shift[0]], -1), torch.stack([sin, cos, shift[1]], -1)], 1
        )
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    return apply


def ours(trainer: Trainer) -> Callable[[int], None]:
    """The trainer's own loop body, guards, records and checkpoint bookkeeping included."""
    feed = trainer._feed()
    done = 0

    def steps(count: int) -> None:
        nonlocal done
        for _ in range(count):
            losses = trainer.stepper(done, feed.step(done))
            done += 1
            trainer.guard.watch(done, losses.values)
            if done % trainer.spec.log.every == 0:
                trainer._record(done, losses)

    return steps


def timed(work: Callable[[int], None], steps: int) -> tuple[float, float]:
    """Wall and processor seconds of `steps` steps."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(steps)
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(
    loops: dict[str, Callable[[int], None]], rounds: int, steps: int
) -> dict[str, list[tuple[float, float]]]:
    """Times of both loops, taking turns in the order A B, B A, A B, ..."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for loop in loops.values():
        loop(5)
    for i in range(rounds):
        for name in list(loops)[:: 1 if i % 2 == 0 else -1]:
            times[name].append(timed(loops[name], steps))
    return times


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--spec", type=Path, default=Path(__file__).parent.parent / "examples/digits_mae.yaml"
    )
    parser.add_argument("--steps", type=int, default=10, help="steps in a turn")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each loop")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        spec = load(
            args.spec, [f"out={folder}/run", "steps=1000000", "epochs=null", "device=cpu", "log.loggers=[]"]
        )
        trainer = Trainer(spec, Single(torch.device("cpu")))
        trainer.progress = Progress(enabled=False)
        times = compare(
            {"hand-written": hand_written(spec, trainer), "sslkit": ours(trainer)}, args.rounds, args.steps
        )
        trainer.recorder.close()
    images = args.steps * spec.batch_size
    for place, clock in enumerate(("wall", "processor")):
        middle = {name: statistics.median(t[place] for t in turns) for name, turns in times.items()}
        pairs = [a[place] / b[place] for a, b in zip(times["sslkit"], times["hand-written"], strict=True)]
        rates = ", ".join(f"{name} {images / t:,.0f} images/s" for name, t in middle.items())
        print(
            f"{clock} time: overhead {100 * (statistics.median(pairs) - 1):+.2f} % (median of {len(pairs)} pairs; "
            f"ratio of medians {middle['sslkit'] / middle['hand-written']:.4f}); {rates}"
        )


if __name__ == "__main__":
    main()
