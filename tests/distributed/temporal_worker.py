"""Three steps of a run with every temporal term, on this rank."""

from __future__ import annotations

import sys

import torch

from sslkit.runtime.parallel import DataParallel, start
from tests.plugins.video import temporal_run

torch.set_num_threads(1)


def main(path: str) -> None:
    """The run on two ranks."""
    ranks = start("cpu")
    totals, state = temporal_run.losses(DataParallel(ranks.device, ranks.rank, ranks.world))
    if ranks.first:
        torch.save({"losses": totals, "state": state}, path)
    ranks.wait()
    ranks.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
