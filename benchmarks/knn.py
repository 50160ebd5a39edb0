"""k-NN engines side by side: exact search by torch and by faiss, on the same features in one run.

    python benchmarks/knn.py           # up to 2,000 x 50,000 x 512
    python benchmarks/knn.py --long    # 10,000 x 50,000 x 512 as well (about a minute on two cores)

Prints the best time of each engine, the ratio faiss / torch and whether the neighbors are the same. `raw` is
the engine alone (candidates in float32); `exact` is what the evaluator runs (candidates compared in float64).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from sslkit.functional import nearest_neighbors

SIZES = [(360, 1437, 128), (2000, 10000, 128), (2000, 10000, 768), (2000, 50000, 512)]
LONG = (10000, 50000, 512)
K = 20


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Shortest of `repeats` timed calls; on CUDA the work is waited for."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(m: int, n: int, d: int, device: str) -> None:
    """Time both engines on `m` queries and a bank of `n` and print one line."""
    generator = torch.Generator().manual_seed(0)
    queries, bank = (F.normalize(torch.randn(r, d, generator=generator), dim=1).to(device) for r in (m, n))
    width = min(K + nearest_neighbors.SPARE, n)
    repeats = 5 if m * n <= 2 * 10**7 else 2
    raw = [
        seconds(lambda f=f: f(queries, bank, width), repeats)
        for f in (nearest_neighbors._propose_torch, nearest_neighbors._propose_faiss)
    ]
    exact = [
        seconds(lambda e=e: nearest_neighbors.nearest(queries, bank, K, e), repeats)
        for e in ("torch", "faiss")
    ]
    found = [nearest_neighbors.nearest(queries, bank, K, engine).rows for engine in ("torch", "faiss")]
    same = bool(torch.equal(*found))
    times = "   ".join(
        f"{name}: torch {torch_s:7.3f} s  faiss {faiss_s:7.3f} s  ratio {faiss_s / torch_s:5.2f}"
        for name, (torch_s, faiss_s) in {"raw": raw, "exact": exact}.items()
    )
    print(f"{m:>6} x {n:>6} x {d:>4}   {times}   same neighbors: {same}", flush=True)


def main() -> None:
    """Compare at every size."""
    parser = argparse.ArgumentParser(description="k-NN engines side by side")
    parser.add_argument("--long", action="store_true", help="also 10,000 x 50,000 x 512")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    print(f"device {options.device}, {torch.get_num_threads()} CPU threads, k = {K}")
    for size in [*SIZES, *([LONG] if options.long else [])]:
        compare(*size, options.device)


if __name__ == "__main__":
    main()
