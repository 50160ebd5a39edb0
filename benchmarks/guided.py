"""What guided maskers that look at images cost, and how hard their masks are.

    python benchmarks/guided.py PARQUET_FILES [--name vit_base_patch16_224] [--batch 8] [--rounds 5]

Cost: processor seconds of making masks for 64 images of 224 pixels and learning from them, over those of a whole
optimizer step of MAE on the same images; the least of the rounds. Difficulty: mean squared error, in units of the
pixels' variance, of a fixed interpolation that predicts hidden patches from visible ones by their distance alone (a
Gaussian process with covariance exp(-distance / 3 patches) and noise 0.05). It shares nothing with the maskers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit import ComplexityMasker, InformationMasker, Parquet, RandomMasker
from sslkit.core.context import Grid
from sslkit.core.masker import Masker, Scene, make_mask
from sslkit.core.random_stream import Draw
from sslkit.data.loaders import Batch
from sslkit.functional.patches import patchify
from sslkit.runtime.parallel import Single
from sslkit.specs.families import MaskerSpec
from sslkit.specs.load import parse
from sslkit.testing.fake_scene import VIEW, env_of
from sslkit.train.compose import compose

GRID, SHOWN, LEARNED = Grid(14, 14, 16), 64, 500
"""Images are 224 pixels: masks are made of some, the model learns from others."""
MASKERS: list[MaskerSpec] = [
    RandomMasker(),
    ComplexityMasker(),
    ComplexityMasker(measure="entropy"),
    ComplexityMasker(share=1),
    ComplexityMasker(share=1, hide="low"),
    InformationMasker(),
    InformationMasker(maximize=False),
    InformationMasker(temperature=0),
    InformationMasker(temperature=0.3),
    InformationMasker(feature_length=0.5),
    InformationMasker(feature_length=2),
    InformationMasker(position_length=1),
    InformationMasker(position_length=4),
]


def read(files: str) -> Tensor:
    """Random images of the files, `[1, LEARNED + SHOWN, 3, 224, 224]`, normalized as the environment's views are."""
    source = Parquet(files=Path(files)).build("train")
    assert source is not None
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[: LEARNED + SHOWN]
    side = GRID.rows * GRID.patch
    images = [
        F.interpolate(source.load(i)[None].float() / 255, (side, side), mode="bilinear", antialias=True)
        for i in order.tolist()
    ]
    return (torch.cat(images)[None] - 0.5) / 0.25


def turn(masker: Masker, images: Tensor) -> None:
    """What a masker does in a step: it samples, and learns."""
    draw, scene = Draw(0, torch.arange(images.shape[1])[None]), Scene(images)
    rows = masker.observe(scene, make_mask(masker, draw, scene), None)
    if rows:
        masker.commit(rows)


def interpolation_error(images: Tensor, hidden: Tensor) -> float:
    """Mean squared error of hidden pixels, `images` `[1, B, 3, H, W]`, `hidden` `[1, B, N]`."""
    at = torch.cartesian_prod(torch.arange(GRID.rows), torch.arange(GRID.cols)).double()
    cov = torch.exp(-torch.cdist(at, at) / 3) + 0.05 * torch.eye(len(at))
    patches = patchify(images, GRID.patch)[0].double()
    patches = (patches - patches.mean()) / patches.std()
    errors = []
    for mask, pixels in zip(hidden[0], patches, strict=True):
        guess = cov[mask][:, ~mask] @ torch.linalg.solve(cov[~mask][:, ~mask], pixels[~mask])
        errors.append((guess - pixels[mask]).square().mean())
    return torch.stack(errors).mean().item()


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Least processor time of `work`."""
    taken = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


def step_seconds(files: str, name: str, images: Tensor, rounds: int) -> float:
    """Processor time of an optimizer step of MAE, for each image."""
    batch = images.shape[1]
    spec = parse(
        {
            "name": "cost", "seed": 0, "device": "cpu", "data": {"kind": "parquet", "files": files},
            "views": {"global": {"size": 224}}, "backbone": {"kind": "vit", "name": name},
            "objective": {"kind": "mae", "masker": {"kind": "random"}}, "batch_size": batch, "steps": rounds + 1,
        }
    )  # fmt: skip
    parts = compose(spec, Single(torch.device("cpu")))
    made = Batch({"global": images}, torch.arange(batch))
    return seconds(partial(parts.step, 0, [made]), rounds) / batch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files")
    parser.add_argument("--name", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = read(arguments.files)
    shown, rows = images[:, LEARNED:], torch.arange(SHOWN)[None]
    step = step_seconds(arguments.files, arguments.name, shown[:, : arguments.batch], arguments.rounds)
    print(f"a step of MAE, {arguments.name}: {1000 * step:.0f} ms an image, one thread")
    for spec in MASKERS:
        masker = spec.build(env_of(GRID), VIEW)
        for part in images[:, :LEARNED].split(100, dim=1):
            turn(masker, part)
        first, second = (masker.sample(Draw(key, rows), Scene(shown)) for key in (0, 1))
        overlap = (first & second).sum(-1) / (first | second).sum(-1)
        cost = seconds(partial(turn, masker, shown), arguments.rounds)
        print(
            f"{spec.summary():40} {1000 * cost / SHOWN:.2f} ms an image, {cost / SHOWN / step:.2%} of a step; "
            f"error of interpolation {interpolation_error(shown, first):.2f}; "
            f"overlap of an image's masks {overlap.mean():.2f}"
        )


if __name__ == "__main__":
    main()
