"""Three steps of a case on this rank, replicated and in shards: writes losses, gradient norms and state of both."""

from __future__ import annotations

import sys
from typing import Any

import torch

from sslkit.runtime.parallel import DataParallel, Parallel, Sharded, start
from tests import tiny
from tests.distributed.fsdp_cases import CASES, case_spec
from tests.distributed.worker import composed_of

torch.set_num_threads(1)


def steps(case: str, parallel: Parallel, count: int = 3) -> dict[str, Any]:
    """What `count` steps of `case` leave behind, whole."""
    spec = case_spec(case)
    composed = composed_of(CASES[case][0], spec, parallel)
    if case == "double":
        composed.system.double()
    feed = tiny.feed(spec, composed)
    made = [composed.step(i, feed.step(i)) for i in range(count)]
    state = composed.step.state_dict()
    norms = [step.gradient_norm for step in made if step.gradient_norm is not None]
    return {
        "losses": [parallel.mean(step.total).item() for step in made],
        "norms": [norm.item() for norm in norms],
        "state": state["system"] | state["masking"],
        "moments": state["optimizer"]["state"],
    }


def main(path: str, case: str) -> None:
    """The case on both."""
    ranks = start("cpu")
    found: dict[str, Any] = {}
    for kind in (DataParallel, Sharded):
        found[kind.__name__] = steps(case, kind(ranks.device, ranks.rank, ranks.world))
    if ranks.first:
        torch.save(found, path)
    ranks.wait()
    ranks.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
