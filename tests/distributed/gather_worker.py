"""Gathers rows, eagerly or compiled, alone or as a rank; writes the rows and the gradient of all of them."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from sslkit.functional.all_gather import all_rows
from sslkit.functional.sinkhorn import sinkhorn
from sslkit.functional.vicreg_terms import uniformity
from sslkit.runtime.parallel import start

ROWS, WIDTH = 6, 3


def loss(rows: Tensor) -> Tensor:
    """Differs by place, and compares rows with each other."""
    gathered = all_rows(rows)
    places = torch.arange(1.0, len(gathered) + 1, dtype=rows.dtype)[:, None]
    return (gathered.cumsum(0) * places).square().mean() + uniformity(gathered)


def main(path: str) -> None:
    parallel = start("cpu")
    joined = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = joined.chunk(parallel.world)[parallel.rank]
    found = {"rows": all_rows(own)}
    compiled = torch.compile(loss, fullgraph=True, dynamic=False, backend="aot_eager")
    for name, function in {"eager": loss, "compiled": compiled}.items():
        rows = own.clone().requires_grad_()
        value = function(rows)
        value.backward()
        assert rows.grad is not None
        found[f"{name} gradient"] = parallel.gather(rows.grad) / parallel.world
        found[f"{name} loss"] = parallel.mean(value.detach())
    assigned = torch.compile(sinkhorn, fullgraph=True, dynamic=False, backend="aot_eager")
    for name, function in {"eager": sinkhorn, "compiled": assigned}.items():
        found[f"{name} sinkhorn"] = parallel.gather(function(own, 0.1))
    if parallel.first:
        torch.save(found, path)
    parallel.wait()
    parallel.close()


if __name__ == "__main__":
    main(sys.argv[1])
