"""Runs on moving digits so small that a test can make several."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from sslkit.data.crops import Pipeline
from sslkit.data.loaders import Feed, ResidentFeed
from sslkit.data.resident import resident_streams
from sslkit.runtime.parallel import DataParallel, Parallel, Sharded, start
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed, compose
from tests import tiny

DATA = {"kind": "moving_digits", "videos": 32, "test_videos": 32, "frames": 4, "size": 16, "digit": 8}
VIEW = {
    "size": [4, 16, 16],
    "transform": {"kind": "frames"},
    "normalize": {"mean": [0.1], "std": [0.25]},
}
VIT = {"kind": "video_vit", "tubelet": 2, "patch": 8, "width": 12, "depth": 1, "heads": 2}
SLOWFAST = {
    "kind": "slowfast", "alpha": 2, "beta_inv": 4, "width": 8, "depths": [1, 1], "block": "basic", "stem": "small",
}  # fmt: skip
VIDEOMAE = {
    "kind": "videomae",
    "masker": {"kind": "tube", "ratio": 0.5},
    "decoder": {"depth": 1, "width": 12, "heads": 2},
}
MASKERS: list[dict[str, Any]] = [
    {"kind": "tube", "ratio": 0.5},
    {"kind": "frame", "ratio": 0.5},
    {"kind": "causal"},
    {"kind": "motion", "ratio": 0.5},
    {"kind": "random", "ratio": 0.5},
]
STEPS = 3


def spec(out: Path | None = None, **changes: Any) -> RunSpec:
    """A run with a `video_vit` and `videomae`, with some fields changed."""
    fields = {
        "data": DATA,
        "views": {"global": VIEW},
        "backbone": VIT,
        "objective": VIDEOMAE,
        "batch_size": 16,
    }
    return tiny.parse(tiny.fields(out, **{**fields, **changes}))


def feed(run: RunSpec, composed: Composed) -> Feed:
    """The batches that a trainer would see."""
    views = composed.env.views
    held = resident_streams(composed.source, views, 1 << 28, tiny.CPU.device, 0, lambda index, reason: None)
    assert held is not None
    return ResidentFeed(held, composed.order, Pipeline(run.views, views, run.seed), tiny.CPU.device)


def steps(parallel: Parallel, **changes: Any) -> dict[str, Any]:
    """Losses and weights after a few steps of stochastic gradient descent, which shows the size of gradients."""
    run = spec(optimizer={"lr": 0.001, "name": "sgd", "scale": "absolute"}, **changes)
    composed = compose(run, parallel)
    supply = feed(run, composed)
    losses = [parallel.mean(composed.step(i, supply.step(i)).total).item() for i in range(STEPS)]
    return {"losses": losses, "state": composed.step.state_dict().get("system")}


RUNS: dict[str, dict[str, Any]] = {
    "tube": {},
    "motion": {"objective": {**VIDEOMAE, "masker": {"kind": "motion", "ratio": 0.5}}},
    "slowfast": {
        "views": {"global": {**VIEW, "crops": 2}},
        "backbone": SLOWFAST,
        "objective": {"kind": "simclr", "projector": {"hidden": 16, "out": 16}},
    },
}
"""What ranks and one process must agree on."""


def main(path: str) -> None:
    """Those runs on two ranks, replicated and in shards."""
    torch.set_num_threads(1)
    ranks = start("cpu")
    results = {
        f"{name} {kind.__name__}": steps(kind(ranks.device, ranks.rank, ranks.world), **changes)
        for name, changes in RUNS.items()
        for kind in (DataParallel, Sharded)
    }
    if ranks.first:
        torch.save(results, path)
    ranks.wait()
    ranks.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
