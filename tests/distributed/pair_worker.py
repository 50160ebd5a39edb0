"""The losses of matching pairs of each rank's rows; writes losses and gradients of all ranks, before any average."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from sslkit.functional.pair_losses import clip, siglip
from sslkit.runtime.parallel import start

GOLDEN = Path(__file__).parent.parent / "goldens" / "clip_siglip_two_ranks.npz"


def main(path: str) -> None:
    parallel = start("cpu")
    with np.load(GOLDEN) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in ("image", "text", "scale")}
    results = {}
    for name in ("gradient", "values", "none", "siglip", "compiled siglip"):
        image, text = (
            arrays[side].chunk(parallel.world)[parallel.rank].clone() for side in ("image", "text")
        )
        scale = torch.tensor(10.0 if "siglip" in name else float(arrays["scale"]), dtype=torch.float64)
        leaves = [leaf.requires_grad_() for leaf in (image, text, scale)]
        if "siglip" in name:
            function = siglip
            if "compiled" in name:
                function = torch.compile(siglip, fullgraph=True, dynamic=False, backend="aot_eager")
            loss = function(image, text, scale, -10.0, chunk=2)
        else:
            loss = clip(image, text, scale, gather=name)
        gradients = torch.autograd.grad(loss, leaves)
        found = zip(("loss", "image", "text", "scale"), (loss.detach(), *gradients), strict=True)
        results |= {
            f"{name} {what}": parallel.gather(value.reshape(-1, *value.shape[1:])) for what, value in found
        }
    if parallel.first:
        torch.save(results, path)
    parallel.wait()
    parallel.close()


if __name__ == "__main__":
    main(sys.argv[1])
