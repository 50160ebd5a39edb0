"""Two terms on a network so small that every balancer can train it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed, compose
from tests import tiny

SOME = {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER}
MOST = {**SOME, "masker": {"kind": "random", "ratio": 0.75}, "target": {"kind": "pixel"}}
TERMS = {"some": SOME, "most": MOST}

IN_FORWARD: dict[str, dict[str, Any]] = {
    "fixed": {"kind": "fixed", "weights": {"most": 0.5}},
    "uncertainty": {"kind": "uncertainty"},
    "dwa": {"kind": "dwa", "steps": 1},
}
ON_GRADIENTS: dict[str, dict[str, Any]] = {
    "pcgrad": {"kind": "pcgrad"},
    "gradnorm": {"kind": "gradnorm", "lr": 0.1},
    "cagrad": {"kind": "cagrad"},
    "mgda": {"kind": "mgda"},
    "imtl_g": {"kind": "imtl_g"},
    "nash": {"kind": "nash"},
    "torchjd": {"kind": "torchjd"},
}
BALANCERS = {
    **IN_FORWARD,
    **ON_GRADIENTS,
    **{f"{name} on features": {**fields, "space": "features"} for name, fields in ON_GRADIENTS.items()},
}


def run_of(name: str, **changes: Any) -> RunSpec:
    """The run with a balancer of `BALANCERS`."""
    fields = {"objective": None, "objectives": TERMS, "balance": BALANCERS[name], "steps": 6, **changes}
    return tiny.spec(**fields)


def train(spec: RunSpec, parts: Composed, begin: int, end: int) -> list[dict[str, Tensor]]:
    """Make the steps from `begin` to before `end`: losses and metrics of each."""
    feed = tiny.feed(spec, parts)
    found = []
    for i in range(begin, end):
        losses = parts.step(i, feed.step(i))
        found.append({"loss": losses.total, **losses.values})
    return found


def composed(spec: RunSpec) -> Composed:
    """The parts of the run, on the CPU."""
    return compose(spec, tiny.CPU)
