"""A hybrid of all temporal terms on a few moving digits, so small that a test can make several."""

from __future__ import annotations

from typing import Any

import torch

from sslkit.data.crops import Pipeline
from sslkit.data.loaders import ResidentFeed
from sslkit.runtime.parallel import Parallel
from sslkit.specs.load import parse
from sslkit.train.compose import compose

HEAD = {"hidden": 16, "out": 8}
CLIP = {"kind": "frames", "flip": 0.0}
NORM = {"mean": [0.1], "std": [0.25]}
TERMS: dict[str, Any] = {
    "near": {"kind": "temporal_infonce", "projector": HEAD},
    "goal": {"kind": "temporal_byol", "projector": HEAD, "predictor": HEAD},
    "steady": {"kind": "temporal_consistency", "clips": 0.5},
    "arrow": {"kind": "arrow_of_time", "view": "turned"},
    "motion": {"kind": "flow", "target": {"kind": "optical_flow", "method": "farneback"}},
    "latent": {
        "kind": "vjepa",
        "masker": {"kind": "multi_block", "ratio": 0.5, "targets": 2, "scale": [0.25, 0.25],
            "context": [1.0, 1.0], "edges": True, "joined": True, "aspect": [0.7, 1.5]},
        "second": None,
        "predictor": {"width": 24, "heads": 2, "depth": 1, "positions": "rope", "mlp_ratio": 2.0},
    },
}  # fmt: skip


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "name": "video",
        "seed": 3,
        "device": "cpu",
        "workers": 0,
        "data": {
            "kind": "moving_digits",
            "videos": 48,
            "test_videos": 24,
            "frames": 6,
            "size": 16,
            "digit": 8,
        },
        "views": {
            "global": {"size": [4, 16, 16], "crops": 2, "transform": CLIP, "normalize": NORM},
            "turned": {
                "size": [4, 16, 16],
                "crops": 2,
                "transform": CLIP,
                "by_crop": [[], [{"kind": "reorder"}]],
                "normalize": NORM,
            },
        },
        "backbone": {"kind": "video_vit", "tubelet": 2, "patch": 4, "width": 12, "depth": 1, "heads": 2},
        "objectives": TERMS,
        "nets": {"teacher": {"momentum": 0.9}},
        "balance": {"kind": "uncertainty"},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "batch_size": 8,
        "steps": 4,
        "log": {"every": 1, "flops": False, "figures": False},
        **changes,
    }


def losses(parallel: Parallel, count: int = 3, **changes: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Of the first steps, and what the network is after them."""
    run = parse(fields(**changes))
    composed = compose(run, parallel)
    images = composed.source.resident()
    assert images is not None
    pipeline = Pipeline(run.views, composed.env.views, run.seed)
    feed = ResidentFeed(images, composed.order, pipeline, parallel.device)
    totals = [parallel.mean(composed.step(i, feed.step(i)).total).item() for i in range(count)]
    return totals, composed.step.state_dict()["system"]
