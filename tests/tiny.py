"""A run so small that a test can make several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sslkit.data.crops import Pipeline
from sslkit.data.loaders import Feed, ResidentFeed
from sslkit.runtime.parallel import Single
from sslkit.specs.load import parse
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed, compose

VIT = {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 4, "width": 16, "depth": 2, "heads": 2}
ONE_BLOCK = {**VIT, "depth": 1}
"""Enough where a graph is traced, which takes seconds a block."""
DECODER = {"width": 16, "depth": 1, "heads": 2}
AUGMENT = [{"kind": "random_resized_crop", "scale": [0.5, 1.0]}, {"kind": "flip"}]
VIEW = {"size": 8, "augment": AUGMENT, "normalize": {"mean": [0.3], "std": [0.4]}}
DRAWN = {"every": 1, "flops": False}
"""The `log` of a run whose figures are looked at; drawing takes longer than all else in a tiny run."""
CPU = Single(torch.device("cpu"))


def fields(out: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Fields of a run of 8 steps on digits of 8 pixels: 2 x 2 patches, and not much of a network."""
    base: dict[str, Any] = {
        "name": "tiny",
        "seed": 3,
        "device": "cpu",
        "data": {"kind": "digits"},
        "workers": 0,
        "views": {"global": VIEW},
        "backbone": VIT,
        "objective": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": DECODER},
        "optimizer": {"lr": 0.01},
        "batch_size": 32,
        "steps": 8,
        "checkpoint": {"every": "3 steps"},
        "log": {**DRAWN, "figures": False},
    }
    return {**base, **({} if out is None else {"out": str(out)}), **changes}


def spec(out: Path | None = None, **changes: Any) -> RunSpec:
    """The tiny run with some fields changed."""
    merged = fields(out, **changes)
    if "epochs" in changes:
        merged.pop("steps")
    return parse(merged)


def feed(run: RunSpec, composed: Composed) -> Feed:
    """The batches that a trainer would see."""
    images = composed.source.resident()
    assert images is not None
    return ResidentFeed(images, composed.order, Pipeline(run.views, composed.env.views, run.seed), CPU.device)


def steps(run: RunSpec, count: int) -> tuple[Composed, list[float]]:
    """Make `count` steps of `run` by hand: the parts and the losses."""
    composed = compose(run, CPU)
    supply = feed(run, composed)
    return composed, [composed.step(i, supply.step(i)).total.item() for i in range(count)]


def same(one: Composed, two: Composed) -> bool:
    """Whether all weights and buffers are bit-equal."""
    a, b = one.system.state_dict(), two.system.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
