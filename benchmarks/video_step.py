"""One step of VideoMAE against a hand-written loop of the official code's structure, and the encoder's cost by mask.

    python benchmarks/video_step.py [--batch 4] [--rounds 8] [--device cpu] [--precision float32]

Both have a ViT of width 192 and depth 12 on timm's blocks, a decoder of depth 4 and fused AdamW, and take turns, step
by step; steps are compared pair by pair. Clips are the same fixed noise: 16 x 112 x 112 in cubelets of 2 x 16 x 16,
tubes hide 0.9. Both draw their masks in the step. The hand-written loop has no schedules, guards or metrics, and, as
the official code, embeds what it hides.

Then the encoder alone, forward and backward, with and without masks: operations counted, and times in turns.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, final

import torch
import torch.nn.functional as F
from dino_step import timed
from einops import rearrange
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sslkit.build.maskers import make_maskers
from sslkit.build.system import make_system
from sslkit.core.context import Length, View
from sslkit.core.masker import mask_of
from sslkit.core.passes import Request
from sslkit.data.loaders import Batch
from sslkit.nn.sincos import flat_positions
from sslkit.runtime.mixed_precision import autocast_of
from sslkit.runtime.parallel import Single
from sslkit.specs.load import parse

ROUNDED = 1_000_000
CLIP, CUBE, RATIO = (16, 112, 112), (2, 16, 16), 0.9
MOMENTS, PLACES = 8, 49
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETWORK = {"tubelet": 2, "patch": 16, "width": 192, "depth": 12, "heads": 3, "positions": "flat"}
DECODER = {"depth": 4, "width": 96, "heads": 3}
Step = Callable[[int], None]


def run_of(args: argparse.Namespace) -> Any:
    """The spec of the run."""
    view = {"size": CLIP, "transform": {"kind": "frames"}, "normalize": {"mean": MEAN, "std": STD}}
    return parse(
        {
            "name": "video-step",
            "device": args.device,
            "precision": args.precision,
            "compile": {"enabled": args.compile},
            "data": {"kind": "moving_digits"},
            "views": {"global": view},
            "backbone": {"kind": "video_vit", **NETWORK},
            "objective": {"kind": "videomae", "positions": "flat", "decoder": DECODER},
            "optimizer": {"lr": 1e-6, "scale": "absolute", "betas": [0.9, 0.95]},
            "batch_size": args.batch,
            "steps": ROUNDED,
        }
    )


def ours(args: argparse.Namespace, clips: Tensor) -> tuple[Step, Any]:
    """The trainer's step, and its encoder."""
    spec, length = run_of(args), Length(ROUNDED, ROUNDED)
    view = View(CLIP, 1, 3, MEAN, STD, type="clip", stream="video", axes=3)
    system, env = make_system(spec, {"global": view}, length)
    from sslkit.train.step.stepper import Stepper

    stepper = Stepper(spec, system, make_maskers(system, env), length, Single(clips.device))
    rows = torch.arange(args.batch, device=clips.device)
    return lambda number: stepper(number, [Batch({"global": clips[None]}, rows)]), system.nets["student"]  # type: ignore[return-value]


def blocks_of(width: int, depth: int, heads: int) -> nn.Sequential:
    """Timm's, as sslkit's."""
    norm = partial(nn.LayerNorm, eps=1e-6)
    return nn.Sequential(*[Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)])


@final
class VideoMAE(nn.Module):
    """The official structure: all cubelets are embedded, visible ones encoded, hidden ones appended to be decoded."""

    def __init__(self) -> None:
        super().__init__()
        width, narrow = int(str(NETWORK["width"])), DECODER["width"]
        self.embed = nn.Conv3d(3, width, CUBE, CUBE)
        self.encoder = blocks_of(width, int(str(NETWORK["depth"])), int(str(NETWORK["heads"])))
        self.norm, self.narrow = nn.LayerNorm(width), nn.Linear(width, narrow, bias=False)
        self.token = nn.Parameter(torch.zeros(1, 1, narrow))
        self.decoder = blocks_of(narrow, DECODER["depth"], DECODER["heads"])
        self.decoder_norm, self.head = nn.LayerNorm(narrow), nn.Linear(narrow, 2 * 16 * 16 * 3)
        count = MOMENTS * PLACES
        self.register_buffer("places", flat_positions(width, count).float())
        self.register_buffer("decoder_places", flat_positions(narrow, count).float())

    def forward(self, clips: Tensor, hidden: Tensor) -> Tensor:
        """Predictions `[B, hidden, 1536]` for `[B, C, T, H, W]` and `[B, N]`."""
        places: Tensor = self.places  # type: ignore[assignment]
        decoder_places: Tensor = self.decoder_places.expand(len(clips), -1, -1)  # type: ignore[operator]
        x = self.embed(clips).flatten(2).mT + places
        x = x[~hidden].reshape(len(clips), -1, x.shape[-1])
        seen = self.narrow(self.norm(self.encoder(x)))
        narrow = seen.shape[-1]
        there, wanted = (decoder_places[mask].reshape(len(clips), -1, narrow) for mask in (~hidden, hidden))
        decoded = self.decoder(torch.cat([seen + there, self.token + wanted], dim=1))[:, seen.shape[1] :]
        out: Tensor = self.head(self.decoder_norm(decoded))
        return out


def tubes(batch: int, device: torch.device) -> Tensor:
    """Hidden cubelets `[B, N]`, by torch's generator."""
    count = int(RATIO * PLACES)
    hidden = torch.rand(batch, PLACES, device=device).argsort(1) < count
    return hidden.repeat(1, MOMENTS)


def labels(clips: Tensor, hidden: Tensor) -> Tensor:
    """VideoMAE's targets of hidden cubelets."""
    mean, std = (torch.tensor(x, device=clips.device).view(3, 1, 1, 1) for x in (MEAN, STD))
    pixels = clips * std + mean
    t, p, q = CUBE
    cubes = rearrange(pixels, "b c (t i) (h j) (w k) -> b (t h w) (i j k) c", i=t, j=p, k=q)
    scale = cubes.var(-2, unbiased=True, keepdim=True).sqrt() + 1e-6
    normed = ((cubes - cubes.mean(-2, keepdim=True)) / scale).flatten(-2)
    return normed[hidden].reshape(len(clips), -1, normed.shape[-1])


def by_hand(args: argparse.Namespace, clips: Tensor) -> Step:
    """A plain loop."""
    net = VideoMAE().to(clips.device)
    trained = list(net.parameters())
    groups = [[p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]]
    decays = zip(groups, (0.05, 0.0), strict=True)
    optimizer = torch.optim.AdamW(
        [{"params": g, "weight_decay": d} for g, d in decays], lr=1e-6, betas=(0.9, 0.95), fused=True
    )

    def step(number: int) -> None:
        hidden = tubes(args.batch, clips.device)
        with torch.no_grad():
            goal = labels(clips, hidden)
        with autocast_of(args.precision, clips.device):
            guess = net(clips, hidden)
        F.mse_loss(guess.float(), goal).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def passes(net: Any, clips: Tensor) -> Mapping[str, Step]:
    """The encoder forward and backward, of all cubelets and of visible ones."""
    hidden = tubes(len(clips), clips.device)[None]
    counts = hidden.sum(-1).flatten().tolist()
    mask = mask_of(hidden, hidden.shape[-1] - counts[0], counts[0])

    def step(number: int, mask: Any) -> None:
        (answer,) = net([Request(clips[None], mask, "drop", ())])
        answer.patch.square().mean().backward()
        net.zero_grad()

    return {"all": lambda number: step(number, None), "visible": lambda number: step(number, mask)}


def in_turns(loops: Mapping[str, Step], rounds: int, *, cuda: bool) -> dict[str, list[tuple[float, float]]]:
    """(wall, processor) seconds of every round but the first two."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for i in range(-2, rounds):
        for name in list(loops)[:: 1 if i % 2 == 0 else -1]:
            took = timed(loops[name], i + 2, cuda)
            if i >= 0:
                times[name].append(took)
    return times


def lines(times: Mapping[str, list[tuple[float, float]]], one: str, two: str) -> list[str]:
    """Medians, and ratios of `one` to `two` pair by pair."""
    out = []
    for name, seconds in times.items():
        wall, cpu = (statistics.median(values) for values in zip(*seconds, strict=True))
        out.append(f"{name:>13}: {wall * 1e3:9.1f} ms wall, {cpu * 1e3:9.1f} ms processor")
    for i, what in enumerate(("wall", "processor")):
        ratios = [a[i] / b[i] for a, b in zip(times[one], times[two], strict=True)]
        ends = f"{min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs"
        out.append(f"{what} ratio {one} / {two}: median {statistics.median(ratios):.3f} ({ends})")
    return out


def operations(step: Step) -> int:
    """Floating-point operations of matrix products, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step(0)
    return int(counter.get_total_flops())


def main(words: list[str] | None = None) -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--compile", action="store_true", help="compile sslkit's forward")
    args = parser.parse_args(words)
    torch.manual_seed(0)
    clips, cuda = torch.randn(args.batch, 3, *CLIP).to(args.device), args.device == "cuda"
    step, encoder = ours(args, clips)
    loops = {"sslkit": step, "hand-written": by_hand(args, clips)}
    print("\n".join(["step", *lines(in_turns(loops, args.rounds, cuda=cuda), "sslkit", "hand-written")]))
    encodes = passes(encoder, clips)
    counted = {name: operations(one) for name, one in encodes.items()}
    print("\n".join(["encoder", *lines(in_turns(encodes, args.rounds, cuda=cuda), "visible", "all")]))
    share = counted["visible"] / counted["all"]
    print(
        f"operations: all {counted['all'] / 1e9:.2f} G, visible {counted['visible'] / 1e9:.2f} G: {share:.3f}"
    )


if __name__ == "__main__":
    main()
