"""One step of I-JEPA or LeJEPA against a hand-written loop of the official code's structure, in one process.

    python benchmarks/jepa_step.py [--method ijepa] [--batch 16] [--rounds 8] [--device cpu] [--precision float32]

Both have a ViT of width 192 on timm's blocks and fused AdamW, and take turns, step by step; steps are compared pair by
pair. Images are the same fixed noise. The hand-written I-JEPA gets masks drawn before, with blocks of their own size
and no padding; sslkit draws its own in the step and pads blocks to the largest. The hand-written LeJEPA draws its
directions by torch's generator. Neither hand-written loop has schedules, guards or metrics.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
from dino_step import timed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from sslkit.build.maskers import make_maskers
from sslkit.build.system import make_system
from sslkit.core.context import Grid, Length, View
from sslkit.core.masker import Scene
from sslkit.core.random_stream import Draw
from sslkit.data.loaders import Batch
from sslkit.nn.sincos import sincos_positions
from sslkit.runtime.mixed_precision import autocast_of
from sslkit.runtime.parallel import Single
from sslkit.specs.load import parse
from sslkit.testing.fake_scene import VIEW, env_of

ROUNDED = 1_000_000
NETWORK = {"name": "vit_base_patch16_gap_224", "width": 192, "depth": 12, "heads": 3}
SIZES = {"ijepa": (224, 1, 16), "lejepa": (64, 4, 8)}
"""Side of a crop, crops, and side of a patch."""
OBJECTIVES: dict[str, dict[str, Any]] = {
    "ijepa": {"kind": "ijepa", "predictor": {"depth": 6, "width": 192, "heads": 3}},
    "lejepa": {"kind": "lejepa"},
}


def ours(args: argparse.Namespace, images: Tensor) -> Callable[[int], None]:
    """The trainer's step."""
    size, crops, patch = SIZES[args.method]
    normalize = {"mean": [0.5], "std": [0.25]}
    spec = parse(
        {
            "name": "jepa-step",
            "device": args.device,
            "precision": args.precision,
            "compile": {"enabled": args.compile},
            "data": {"kind": "digits"},
            "views": {"global": {"size": size, "crops": crops, "normalize": normalize}},
            "backbone": {"kind": "vit", "patch": patch, **NETWORK},
            "nets": {"teacher": {"momentum": 0.996}} if args.method == "ijepa" else {},
            "objective": OBJECTIVES[args.method],
            "optimizer": {"lr": 1e-6, "scale": "absolute", "betas": [0.9, 0.999]},
            "batch_size": args.batch,
            "steps": ROUNDED,
        }
    )
    length = Length(ROUNDED, ROUNDED)
    system, env = make_system(spec, {"global": View(size, crops, 1, (0.5,), (0.25,))}, length)
    from sslkit.train.step.stepper import Stepper

    stepper = Stepper(spec, system, make_maskers(system, env), length, Single(images.device))
    rows = torch.arange(args.batch, device=images.device)
    return lambda number: stepper(number, [Batch({"global": images}, rows)])  # type: ignore[return-value]


def encoder(args: argparse.Namespace) -> Any:
    """The network, from timm."""
    size, _, patch = SIZES[args.method]
    widths = {"embed_dim": NETWORK["width"], "depth": NETWORK["depth"], "num_heads": NETWORK["heads"]}
    name = str(NETWORK["name"])
    return timm.create_model(name, in_chans=1, num_classes=0, img_size=size, patch_size=patch, **widths)


def encode(net: Any, images: Tensor, keep: Tensor | None = None) -> Tensor:
    """Tokens after the last norm, of the patches `keep` `[B, K]` only where they are given."""
    x = net.patch_embed(images) + net.pos_embed
    if keep is not None:
        x = x.gather(1, keep[..., None].expand(-1, -1, x.shape[-1]))
    out: Tensor = net.norm(net.blocks(x))
    return out


class Predictor(nn.Module):
    """The official predictor's structure."""

    def __init__(self, width: int, depth: int, heads: int, side: int) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("places", sincos_positions(width, side, side).float())
        self.blocks = nn.Sequential(*[Block(width, heads, qkv_bias=True) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(self, context: Tensor, keep: Tensor, blocks: Tensor) -> Tensor:
        """`[B * M, T, D]` for blocks `[B, M, T]`."""
        places: Tensor = self.places  # type: ignore[assignment]
        count = blocks.shape[1]
        seen = (self.embed(context) + places[keep]).repeat_interleave(count, 0)
        wanted = self.token + places[blocks].flatten(0, 1)
        x = self.blocks(torch.cat([seen, wanted], 1))[:, seen.shape[1] :]
        out: Tensor = self.out(self.norm(x))
        return out


def optimizer_of(*modules: nn.Module) -> torch.optim.Optimizer:
    """Fused AdamW, without decay of vectors."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [[p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]]
    decays = zip(groups, (0.05, 0.0), strict=True)
    return torch.optim.AdamW([{"params": g, "weight_decay": d} for g, d in decays], lr=1e-6, fused=True)


def masks_of(batch: int, side: int, count: int = 16) -> list[tuple[Tensor, Tensor]]:
    """Contexts `[B, K]` and target blocks `[B, M, T]` of several steps, without padding."""
    from sslkit import MultiBlockMasker

    masker = MultiBlockMasker().build(env_of(Grid(side, side, 1)), VIEW)
    masks = []
    for step in range(count):
        hidden, blocks = masker.sample_blocks(Draw(step, torch.arange(batch)), Scene(torch.empty(0)))
        assert blocks is not None
        keep = hidden.to(torch.int8).sort(stable=True).indices[:, : masker.visible]
        masks.append((keep, blocks[..., : int((blocks[0, 0] >= 0).sum())]))
    return masks


def hand_ijepa(args: argparse.Namespace, images: Tensor) -> Callable[[int], None]:
    """A plain loop."""
    student, side = encoder(args).to(args.device), SIZES["ijepa"][0] // SIZES["ijepa"][2]
    teacher = copy.deepcopy(student).requires_grad_(False)
    sizes = OBJECTIVES["ijepa"]["predictor"]
    predictor = Predictor(sizes["width"], sizes["depth"], sizes["heads"], side).to(args.device)
    optimizer, crops = optimizer_of(student, predictor), images[0]
    masks = [(keep.to(args.device), blocks.to(args.device)) for keep, blocks in masks_of(args.batch, side)]

    def step(number: int) -> None:
        keep, blocks = masks[number % len(masks)]
        with autocast_of(args.precision, images.device):
            with torch.no_grad():
                whole = encode(teacher, crops)
                goal = F.layer_norm(whole, whole.shape[-1:])
                index = blocks.flatten(1)[..., None].expand(-1, -1, goal.shape[-1])
                goal = goal.gather(1, index).view(-1, blocks.shape[2], goal.shape[-1])
            guess = predictor(encode(student, crops, keep), keep, blocks)
            loss = F.smooth_l1_loss(guess.float(), goal.float())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for theirs, own in zip(teacher.parameters(), student.parameters(), strict=True):
                theirs.mul_(0.996).add_((1 - 0.996) * own.detach())

    return step


def hand_lejepa(args: argparse.Namespace, images: Tensor) -> Callable[[int], None]:
    """A plain loop."""
    student, width, device = encoder(args).to(args.device), int(str(NETWORK["width"])), images.device
    layers = [nn.Linear(width, 2048), nn.BatchNorm1d(2048), nn.ReLU()]
    layers += [nn.Linear(2048, 2048), nn.BatchNorm1d(2048), nn.ReLU(), nn.Linear(2048, 16)]
    projector = nn.Sequential(*layers).to(device)
    optimizer, crops = optimizer_of(student, projector), images.flatten(0, 1)
    t = torch.linspace(0, 3, 17, device=device)
    weights = torch.full((17,), 2 * 3 / 16, device=device)
    weights[[0, -1]] = 3 / 16
    window = (-t.square() / 2).exp()

    def step(number: int) -> None:
        with autocast_of(args.precision, device):
            z = projector(encode(student, crops).mean(1)).float().view(len(images), args.batch, 16)
        directions = F.normalize(torch.randn(16, 256, device=device), dim=0)
        angles = (z @ directions)[..., None] * t
        error = (angles.cos().mean(-3) - window).square() + angles.sin().mean(-3).square()
        normality = (error @ (weights * window) * args.batch).mean()
        loss = 0.98 * (z.mean(0) - z).square().mean() + 0.02 * normality
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=list(SIZES), default="ijepa")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--compile", action="store_true", help="compile sslkit's forward")
    args = parser.parse_args()
    torch.manual_seed(0)
    size, crops, _ = SIZES[args.method]
    images = torch.randn(crops, args.batch, 1, size, size).to(args.device)
    hand = hand_ijepa if args.method == "ijepa" else hand_lejepa
    loops = {"sslkit": ours(args, images), "hand-written": hand(args, images)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for i in range(-2, args.rounds):
        for name in list(loops)[:: 1 if i % 2 == 0 else -1]:
            took = timed(loops[name], i + 2, args.device == "cuda")
            if i >= 0:
                times[name].append(took)
    for name, seconds in times.items():
        wall, cpu = (statistics.median(values) for values in zip(*seconds, strict=True))
        print(f"{name:>13}: {wall * 1e3:9.1f} ms wall, {cpu * 1e3:9.1f} ms processor a step")
    for i, what in enumerate(("wall", "processor")):
        ratios = [a[i] / b[i] for a, b in zip(times["sslkit"], times["hand-written"], strict=True)]
        print(f"{what} ratio sslkit / hand-written: median {statistics.median(ratios):.3f}", end=" ")
        print(f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)")


if __name__ == "__main__":
    main()
