"""Four steps of a tokenizer, alone or as a rank: writes losses and state."""

from __future__ import annotations

import sys

import torch

from sslkit.runtime.parallel import start
from sslkit.train.compose import compose
from tests import tiny

torch.set_num_threads(1)
OBJECTIVE = {
    "kind": "vq_vae",
    "codebook": {"size": 12, "dim": 4, "sample": 4, "revive": 0.1, "decay": 0.8},
    "decoder": tiny.DECODER,
}


def main(path: str) -> None:
    run = tiny.spec(objective=OBJECTIVE, optimizer={"lr": 0.01, "name": "sgd"})
    parallel = start("cpu")
    composed = compose(run, parallel)
    feed = tiny.feed(run, composed)
    losses = [parallel.mean(composed.step(i, feed.step(i)).total).item() for i in range(4)]
    if parallel.first:
        torch.save({"losses": losses, "state": composed.system.state_dict()}, path)
    parallel.wait()
    parallel.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
