"""One step of DINO against a hand-written loop of the official code's structure, side by side in one process.

    python benchmarks/dino_step.py [--batch 2] [--rounds 6] [--prototypes 65536] [--device cpu] [--precision float32]

Both have ViT-T on 2 crops of 224 and 6 of 96 pixels, DINO's head, fused AdamW, clipping tensor by tensor and a moving
average. They take turns, step by step, so a machine whose speed drifts does not favor either, and steps are compared
pair by pair.
Images are the same fixed noise: reading and augmenting them is another matter (`augment.py`). The hand-written loop
groups crops by resolution, loops over pairs of crops in the loss and over parameters in clipping and averaging, as the
official code does, on the same timm network; it has no schedules, guards or metrics.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.build.maskers import make_maskers
from sslkit.build.system import make_system
from sslkit.core.context import Length, View
from sslkit.data.loaders import Batch
from sslkit.runtime.mixed_precision import autocast_of
from sslkit.runtime.parallel import Single
from sslkit.specs.load import parse
from sslkit.specs.run import RunSpec
from sslkit.train.step.stepper import Stepper

ROUNDED = 1_000_000
GLOBAL, LOCAL = (224, 2), (96, 6)


def spec_of(args: argparse.Namespace) -> RunSpec:
    """The run; its data are never read."""
    sizes = {"global": GLOBAL, "local": LOCAL}
    normalize = {"mean": [0.5], "std": [0.25]}
    return parse(
        {
            "name": "dino-step",
            "device": args.device,
            "precision": args.precision,
            "compile": {"enabled": args.compile},
            "data": {"kind": "digits"},
            "views": {n: {"size": s, "crops": c, "normalize": normalize} for n, (s, c) in sizes.items()},
            "backbone": {
                "kind": "vit",
                "name": "vit_tiny_patch16_224",
                "positions": "learned",
                "init": "timm",
            },
            "nets": {"teacher": {"momentum": 0.996}},
            "objective": {"kind": "dino", "prototypes": args.prototypes, "freeze_last_layer": 0},
            "optimizer": {"lr": 5e-4, "betas": [0.9, 0.999], "clip": 3.0, "clip_per": "tensor"},
            "batch_size": args.batch,
            "steps": ROUNDED,
        }
    )


def ours(spec: RunSpec, crops: dict[str, Tensor]) -> Callable[[int], None]:
    """The trainer's step."""
    views = {n: View(s, c, 1, (0.5,), (0.25,)) for n, (s, c) in {"global": GLOBAL, "local": LOCAL}.items()}
    length = Length(ROUNDED, ROUNDED)
    system, env = make_system(spec, views, length)
    parallel = Single(next(iter(crops.values())).device)
    stepper = Stepper(spec, system, make_maskers(system, env), length, parallel)
    rows = torch.arange(spec.batch_size, device=parallel.device)

    def step(number: int) -> None:
        stepper(number, [Batch(crops, rows)])

    return step


class Head(nn.Module):
    """The official head's structure."""

    def __init__(self, width: int, prototypes: int) -> None:
        super().__init__()
        sizes = (width, 2048, 2048, 256)
        linears = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.mlp = nn.Sequential(linears[0], nn.GELU(), linears[1], nn.GELU(), linears[2])
        last = nn.Linear(256, prototypes, bias=False)
        self.last_layer: Any = nn.utils.parametrizations.weight_norm(last)
        self.last_layer.parametrizations.weight.original0.data.fill_(1)
        self.last_layer.parametrizations.weight.original0.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.last_layer(F.normalize(self.mlp(x), dim=-1))
        return out


class MultiCrop(nn.Module):
    """Crops of one size share a batch; the head sees all of them at once."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, groups: Sequence[Tensor]) -> Tensor:
        """Logits of all crops."""
        out: Tensor = self.head(torch.cat([self.backbone(group) for group in groups]))
        return out


def pair_loss(student: Tensor, teacher: Tensor, center: Tensor, crops: int) -> Tensor:
    """The loop over pairs."""
    said = (student / 0.1).chunk(crops)
    goals = F.softmax((teacher - center) / 0.04, dim=-1).detach().chunk(2)
    total, terms = student.new_zeros(()), 0
    for v, goal in enumerate(goals):
        for u, own in enumerate(said):
            if u != v:
                total = total + torch.sum(-goal * F.log_softmax(own, dim=-1), dim=-1).mean()
                terms += 1
    return total / terms


def hand_written(spec: RunSpec, crops: dict[str, Tensor], prototypes: int) -> Callable[[int], None]:
    """A plain loop."""
    device = next(iter(crops.values())).device
    net = timm.create_model("vit_tiny_patch16_224", in_chans=1, num_classes=0, dynamic_img_size=True)
    student = MultiCrop(net, Head(192, prototypes)).to(device)
    teacher = copy.deepcopy(student).requires_grad_(False)
    trained = [p for p in student.parameters() if p.requires_grad]
    groups = [[p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]]
    decays = (0.05, 0.0)
    optimizer = torch.optim.AdamW(
        [{"params": g, "weight_decay": d} for g, d in zip(groups, decays, strict=True)], lr=1e-6, fused=True
    )
    center = torch.zeros(1, prototypes, device=device)
    large, small = crops["global"].flatten(0, 1), crops["local"].flatten(0, 1)

    def step(number: int) -> None:
        with autocast_of(spec.precision or "float32", device):
            with torch.no_grad():
                goals = teacher([large])
            loss = pair_loss(student([large, small]), goals, center, GLOBAL[1] + LOCAL[1])
        center.mul_(0.9).add_(goals.float().mean(0, keepdim=True), alpha=0.1)
        optimizer.zero_grad()
        loss.backward()
        for p in trained:
            assert p.grad is not None
            share = 3.0 / (p.grad.norm() + 1e-6)
            p.grad.mul_(share.clamp(max=1.0))
        optimizer.step()
        with torch.no_grad():
            for theirs, own in zip(teacher.parameters(), student.parameters(), strict=True):
                theirs.mul_(0.996).add_((1 - 0.996) * own.detach())

    return step


def timed(step: Callable[[int], None], number: int, cuda: bool) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    step(number)
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--prototypes", type=int, default=65536)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--compile", action="store_true", help="compile sslkit's forward")
    args = parser.parse_args()
    spec = spec_of(args)
    torch.manual_seed(0)
    crops = {
        name: torch.randn(count, args.batch, 1, size, size).to(args.device)
        for name, (size, count) in {"global": GLOBAL, "local": LOCAL}.items()
    }
    loops = {"sslkit": ours(spec, crops), "hand-written": hand_written(spec, crops, args.prototypes)}
    cuda = args.device == "cuda"
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for i in range(-2, args.rounds):
        for name in list(loops)[:: 1 if i % 2 == 0 else -1]:
            took = timed(loops[name], i + 2, cuda)
            if i >= 0:
                times[name].append(took)
    for name, found in times.items():
        wall, cpu = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{name:>13}: {wall * 1e3:9.1f} ms wall, {cpu * 1e3:9.1f} ms processor a step")
    for i, what in enumerate(("wall", "processor")):
        ratios = [a[i] / b[i] for a, b in zip(times["sslkit"], times["hand-written"], strict=True)]
        print(
            f"{what} ratio sslkit / hand-written: median {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)"
        )


if __name__ == "__main__":
    main()
