"""Three steps of each kind of batch norm, alone or as a rank; writes outputs, gradients and running statistics."""

from __future__ import annotations

import copy
import sys

import torch
from torch import Tensor, nn

from sslkit.nn.batch_norm import BatchNorm
from sslkit.runtime.parallel import Parallel, start

ROWS, CHANNELS = 16, 5
KINDS = {
    "sync": ("sync", 1, (2, 3)),
    "rows": ("sync", 1, ()),
    "split": ("split", 4, (2,)),
    "shuffled": ("shuffled", 2, (2,)),
}
"""Name -> mode, splits, shape of a channel."""


def images(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Rows that differ much between ranks, and what their outputs are multiplied with."""
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(2, ROWS, CHANNELS, *shape, generator=generator, dtype=torch.float64)
    return x * torch.arange(1.0, ROWS + 1).view(-1, 1, *[1] * len(shape)) + 3, weights


def results(name: str, parallel: Parallel, compiled: bool) -> dict[str, Tensor]:
    mode, splits, shape = KINDS[name]
    online = BatchNorm(CHANNELS, mode, splits).double()
    with torch.no_grad():
        for i, parameter in enumerate(online.parameters()):
            parameter.copy_(torch.linspace(-1, 1 + i, CHANNELS))
    average = copy.deepcopy(online).requires_grad_(False)
    run = compiled_net(online) if compiled else online
    x, weights = (whole.chunk(parallel.world)[parallel.rank] for whole in images(shape))
    for _ in range(3):
        own = x.clone().requires_grad_()
        online.zero_grad()
        out = run(own)
        (out * weights).sum().backward()
        keys = average(x)
    assert own.grad is not None
    rows = {"out": out.detach(), "keys": keys, "x": own.grad}
    found = {key: parallel.gather(value) for key, value in rows.items()}
    found |= {n: parallel.total(p.grad) for n, p in online.named_parameters() if p.grad is not None}
    return found | {
        f"{who} {n}": b for who, m in (("q", online), ("k", average)) for n, b in m.named_buffers()
    }


def compiled_net(norm: nn.Module) -> nn.Module:
    torch._dynamo.reset()
    made: nn.Module = torch.compile(norm, fullgraph=True, dynamic=False, backend="aot_eager")  # type: ignore[assignment]
    return made


def main(path: str) -> None:
    parallel = start("cpu")
    found = {name: results(name, parallel, compiled=False) for name in KINDS}
    found |= {f"compiled {name}": results(name, parallel, compiled=True) for name in ("sync", "shuffled")}
    if parallel.first:
        torch.save(found, path)
    parallel.wait()
    parallel.close()


if __name__ == "__main__":
    main(sys.argv[1])
