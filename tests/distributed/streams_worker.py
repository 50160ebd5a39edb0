"""Three steps of a run with two towers' gradients weighed, on this rank, replicated and in shards."""

from __future__ import annotations

import sys
from typing import Any

import torch

from sslkit.runtime.parallel import DataParallel, Parallel, Sharded, start
from sslkit.train.compose import compose
from tests import streams

torch.set_num_threads(1)
AVERAGES = {"teacher": {"momentum": 0.9}, "reader": {"of": "text", "momentum": 0.9}}
TERMS = {"pairs": streams.PAIRS, "more": streams.PAIRS, "pixels": streams.LAST}


def steps(parallel: Parallel) -> dict[str, Any]:
    """Losses, weights and what was learned after three steps."""
    with streams.registered():
        spec = streams.spec(
            nets=AVERAGES, objectives=TERMS, balance={"kind": "pcgrad"}, optimizer={"lr": 0.01, "name": "sgd"}
        )
        composed = compose(spec, parallel)
        feed = streams.feed(spec, composed)
        losses = [parallel.mean(composed.step(i, feed.step(i)).total).item() for i in range(3)]
        learned = dict(composed.inputs.learned)
        return {"losses": losses, "state": composed.step.state_dict().get("system"), "learned": learned}


def main(path: str) -> None:
    """The run on two ranks."""
    ranks = start("cpu")
    results = {
        kind.__name__: steps(kind(ranks.device, ranks.rank, ranks.world)) for kind in (DataParallel, Sharded)
    }
    if ranks.first:
        torch.save(results, path)
    ranks.wait()
    ranks.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
