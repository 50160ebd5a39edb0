"""Three steps of a convolutional network, alone or as a rank; writes outputs, gradients and statistics."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from sslkit import CNN
from sslkit.core.passes import Request
from sslkit.nn.frozen import frozen_copy
from sslkit.runtime.parallel import Parallel, start
from sslkit.specs.nets import NetSpec
from sslkit.train.step.ema import set_modes
from tests.plugins.backbones.variants import view

MODES: dict[str, dict[str, Any]] = {
    "sync": {},
    "joined": {"views_apart": False},
    "split": {"batch_norm": "split", "splits": 2},
    "shuffled": {"batch_norm": "shuffled", "splits": 2},
    "local": {"batch_norm": "local"},
}
CROPS, IMAGES, SIZE = 2, 8, 16


def results(mode: str, parallel: Parallel) -> dict[str, Tensor]:
    """Plain gradient descent on a weighted sum of all tokens; double precision, as ReLU enlarges rounding errors."""
    torch.manual_seed(0)
    net = CNN(name="test_resnet", stem="cifar", **MODES[mode]).build(view(SIZE)).double()
    teacher = frozen_copy(net)
    set_modes({"student": net, "teacher": teacher}, {"teacher": NetSpec()})
    scale = torch.arange(1.0, IMAGES + 1).view(-1, 1, 1, 1)
    images = (torch.randn(CROPS, IMAGES, 3, SIZE, SIZE) * scale).double()
    weights = torch.randn(CROPS, IMAGES, net.grid(SIZE).patches, net.dim).double()
    own, goal = (x.chunk(parallel.world, 1)[parallel.rank] for x in (images, weights))
    parameters = dict(net.named_parameters())
    for _ in range(3):
        (tokens,), (keys,) = (module([Request(own, None, "drop", ())]) for module in (net, teacher))
        gradients = torch.autograd.grad((tokens.patch * goal).sum() / IMAGES, list(parameters.values()))
        total = [parallel.total(gradient) for gradient in gradients]
        with torch.no_grad():
            torch._foreach_add_(list(parameters.values()), total, alpha=-0.01)
    found = {"patch": tokens.patch.detach(), "keys": keys.patch}
    found = {name: parallel.gather(value.transpose(0, 1)) for name, value in found.items()}
    found |= {f"gradient {name}": g for name, g in zip(parameters, total, strict=True)}
    return found | {f"teacher {n}": b for n, b in teacher.named_buffers()} | dict(net.named_buffers())


def main(path: str) -> None:
    """Write what every mode came to."""
    parallel = start("cpu")
    found = {mode: results(mode, parallel) for mode in MODES}
    if parallel.first:
        torch.save(found, path)
    parallel.wait()
    parallel.close()


if __name__ == "__main__":
    main(sys.argv[1])
