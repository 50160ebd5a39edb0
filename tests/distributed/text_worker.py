"""Three steps of hybrids of images and texts on this rank, replicated and in shards."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from sslkit.runtime.parallel import DataParallel, Parallel, Sharded, start
from sslkit.specs.load import parse
from sslkit.specs.run import RunSpec
from sslkit.train.compose import compose
from tests import streams
from tests.plugins.text import albef_fields, test_hybrid

torch.set_num_threads(1)
COMMON = {"optimizer": {"lr": 0.01, "name": "sgd"}, "batch_size": 16, "steps": 4, "workers": 0}
ALBEF = {
    "albef": {"kind": "albef", **albef_fields.SMALL, **albef_fields.FUSION},
    "pixels": {"kind": "text_mim", **albef_fields.FUSION},
}


def fields(out: str = "none", **changes: Any) -> dict[str, dict[str, Any]]:
    """MAE with CLIP and KoLeo by PCGrad, and ALBEF with images from text."""
    return {
        "hybrid": test_hybrid.data_of(f"{out}/hybrid", **{**COMMON, **changes}),
        "albef": albef_fields.data_of(f"{out}/albef", ALBEF, **{**COMMON, **changes}),
    }


def specs(**changes: Any) -> Mapping[str, RunSpec]:
    """The runs of `fields`."""
    return {name: parse(one) for name, one in fields(**changes).items()}


def steps(spec: RunSpec, parallel: Parallel) -> dict[str, Any]:
    """Losses and weights after three steps."""
    composed = compose(spec, parallel)
    feed = streams.feed(spec, composed)
    losses = [parallel.mean(composed.step(i, feed.step(i)).total).item() for i in range(3)]
    return {"losses": losses, "state": composed.step.state_dict().get("system")}


def main(path: str) -> None:
    """Both runs on two ranks."""
    ranks = start("cpu")
    kinds = [kind(ranks.device, ranks.rank, ranks.world) for kind in (DataParallel, Sharded)]
    results = {
        name: {type(kind).__name__: steps(spec, kind) for kind in kinds} for name, spec in specs().items()
    }
    if ranks.first:
        torch.save(results, path)
    ranks.wait()
    ranks.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
