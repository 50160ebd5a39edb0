"""The first of two ranks counts the operations of a step whose losses compare all images."""

from __future__ import annotations

from pathlib import Path

import torch

from sslkit.runtime.parallel import start
from sslkit.specs.run import RunSpec
from sslkit.train.compose import compose
from sslkit.train.resolved_values import flops_of
from tests import tiny

torch.set_num_threads(1)
NORM = {"hidden": 8, "out": 4, "norm": True}
VIEWS = {"global": {**tiny.VIEW, "crops": 2}}


def run(parallel: str = "ddp") -> RunSpec:
    """Contrast of all ranks' images behind a batch norm of all ranks' rows."""
    return tiny.spec(objective={"kind": "infonce", "projector": NORM}, views=VIEWS, parallel=parallel)


def main(parallel: str, path: str) -> None:
    spec = run(parallel)
    place = start("cpu", spec.parallel)
    composed = compose(spec, place)
    if place.first:
        found = flops_of(spec, composed, place)
        assert found is not None, "it can be counted"
        Path(path).write_text(str(found[0]))
    place.wait()
    place.close()
