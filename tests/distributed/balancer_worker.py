"""Three steps with a balancer on this rank, replicated and in shards: writes what they told and left behind."""

from __future__ import annotations

import sys
from typing import Any

import torch

from sslkit.runtime.parallel import DataParallel, Parallel, Sharded, start
from sslkit.train.compose import compose
from tests import tiny
from tests.plugins.balancers.runs import BALANCERS, run_of

torch.set_num_threads(1)
SGD = {"name": "sgd", "lr": 0.03}
CASES: dict[str, dict[str, Any]] = {
    **{name: {} for name in BALANCERS if "features" not in name},
    "pcgrad on features": {},
    "gradnorm on features": {},
    "pcgrad in micro-batches": {"micro_batch_size": 8},
    "uncertainty in micro-batches": {"micro_batch_size": 8},
    "fixed, measured": {"log": {"conflict": "2 steps"}},
    "fixed, measured in micro-batches": {"log": {"conflict": "2 steps"}, "micro_batch_size": 8},
}


def steps(case: str, parallel: Parallel) -> dict[str, Any]:
    """What three steps tell, as means over ranks as records have it, and the state after them."""
    spec = run_of(case.split(" in micro")[0].split(",")[0], optimizer=SGD, **CASES[case])
    parts = compose(spec, parallel)
    feed = tiny.feed(spec, parts)
    made = [parts.step(i, feed.step(i)) for i in range(3)]
    told = [{"loss": step.total, **step.values} for step in made]
    state = parts.step.state_dict()
    return {
        "told": [{key: parallel.mean(value.double()).item() for key, value in one.items()} for one in told],
        "state": state["system"],
    }


def main(path: str, case: str) -> None:
    """The case; on more ranks than one as replicas and in shards."""
    ranks = start("cpu")
    found = {}
    if ranks.world == 1:
        found["one"] = steps(case, ranks)
    else:
        for name, kind in {"replicas": DataParallel, "shards": Sharded}.items():
            found[name] = steps(case, kind(ranks.device, ranks.rank, ranks.world))
    if ranks.first:
        torch.save(found, path)
    ranks.wait()
    ranks.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
