"""Three steps of networks with running statistics, on this rank; writes losses and every rank's buffers."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.build.maskers import make_maskers
from sslkit.core.objective import Objective
from sslkit.core.system import System
from sslkit.errors import SpecError
from sslkit.nn.wrapped_network import Wrapped
from sslkit.runtime.parallel import Parallel, start
from sslkit.train.compose import Composed, compose
from sslkit.train.step.stepper import Stepper
from tests import tiny

torch.set_num_threads(1)
VIEWS = {"global": {**tiny.VIEW, "size": 32}}
TIMM: dict[str, Any] = {"kind": "timm", "name": "test_resnet"}
BACKBONES: dict[str, dict[str, Any]] = {
    "timm": TIMM,
    "timm local": {**TIMM, "batch_norm": "local"},
    "timm activated": {**TIMM, "name": "test_efficientnet"},
    "cnn local": {"kind": "cnn", "name": "test_resnet", "batch_norm": "local"},
    "plugin": TIMM,
    "peculiar": TIMM,
}
"""Case -> a backbone; that of `plugin` has torch's batch norm, that of `peculiar` a norm of its own."""


class Peculiar(nn.Module):
    """Follows the mean of the images of its own rank, in a buffer that nobody knows."""

    follows: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("follows", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.follows.lerp_(x.mean((0, 2, 3)), 0.1)
        return x - self.follows[:, None, None]


def network(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 4, stride=4), norm, nn.ReLU(), nn.Conv2d(8, 16, 4, stride=4))


def spec_of(case: str, **changes: Any) -> Any:
    fields = {
        "views": VIEWS,
        "backbone": BACKBONES[case],
        "objective": {"kind": "rotation", "turns": [0, 0]},
        "nets": {"teacher": {"momentum": 0.5, "batch_norm": "average"}},
        "optimizer": {"name": "sgd", "lr": 0.1},
    }
    views = {"global": {**VIEWS["global"], "crops": 2}}
    return tiny.spec(**{**fields, "views": views, **changes})


def composed_of(case: str, parallel: Parallel) -> tuple[Any, Composed]:
    spec = spec_of(case, **({"nets": {}} if case in ("plugin", "peculiar") else {}))
    composed = compose(spec, parallel)
    if case not in ("plugin", "peculiar"):
        return spec, composed
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8) if case == "plugin" else Peculiar(8)
    net = Wrapped(network(norm), composed.env.views["global"])
    objectives: dict[str, Objective] = dict(composed.system.objectives.items())  # type: ignore[arg-type]
    for objective in objectives.values():
        objective.head = nn.Linear(net.dim, 4)
    system = System({"student": net}, objectives, composed.system.balancer)  # type: ignore[arg-type]
    stepper = Stepper(spec, system, make_maskers(system, composed.env), composed.length, parallel)
    return spec, composed._replace(system=system, step=stepper)


def results(case: str, parallel: Parallel) -> dict[str, Any]:
    spec, composed = composed_of(case, parallel)
    feed = tiny.feed(spec, composed)
    losses = []
    for i in range(3):
        try:
            losses.append(parallel.mean(composed.step(i, feed.step(i)).total).item())
        except SpecError as error:
            return {"error": str(error)}
    buffers = {
        name: parallel.gather(buffer[None].float()) for name, buffer in composed.system.named_buffers()
    }
    return {"losses": losses, "buffers": buffers}


def main(path: str) -> None:
    """Write what every case came to."""
    parallel = start("cpu")
    found = {case: results(case, parallel) for case in BACKBONES}
    if parallel.first:
        torch.save(found, path)
    parallel.wait()
    parallel.close()


if __name__ == "__main__":
    main(sys.argv[1])
