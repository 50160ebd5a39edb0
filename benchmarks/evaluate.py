"""What evaluation costs: feature extraction, linear probes with many settings, and exact k-NN.

    python benchmarks/evaluate.py              # extraction, linear, and k-NN of 2,000 x 50,000 x 512
    python benchmarks/evaluate.py --long       # k-NN of 10,000 x 50,000 x 512 (minutes on two cores)
    python benchmarks/evaluate.py --only knn --clock cpu    # CPU time of all threads, for a busy machine

Prints the best of several alternating repeats, the ratio to what it is compared with, and the limit it should keep:
extraction within 5 % of the bare forward loop; 24 settings of `linear` under 3 x one; `knn` no slower than the fastest
of faiss, chunked torch and scikit-learn, with the same neighbors.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from sslkit import Digits, LinearProbe, Readout, RunSpec, ViewSpec, ViT
from sslkit.core.augment import to_float
from sslkit.core.evaluator import Features
from sslkit.core.passes import Request
from sslkit.evaluate.features import Loading, net_encoder, rows
from sslkit.functional.nearest_neighbors import nearest
from sslkit.functional.pixel_normalization import channel_statistics
from sslkit.functional.resize import resize_center
from sslkit.runtime.parallel import Single
from sslkit_evaluators.probes.linear import Recipe, choose
from sslkit_sources.resident_source import ResidentSource

K = 20


clock: Callable[[], float] = time.perf_counter


def best(works: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Shortest seconds of each, tried in turn so that a busy machine disturbs all alike."""
    found = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, work in works.items():
            start = clock()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            found[name] = min(found[name], clock() - start)
    return found


def tell(title: str, found: Mapping[str, float], ratio: float, limit: float) -> None:
    """One line of times and the ratio that counts."""
    times = "  ".join(f"{name} {seconds:.3f} s" for name, seconds in found.items())
    verdict = "kept" if ratio <= limit else "MISSED"
    print(f"{title:<34} {times}   ratio {ratio:.3f} (limit {limit:g}: {verdict})", flush=True)


def extraction(device: torch.device) -> None:
    """`rows` with the readout, and the loop that anyone would write, on the same resident images."""
    generator, count, size = torch.Generator().manual_seed(0), 256, 32
    images = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    source = ResidentSource(images, torch.zeros(count, dtype=torch.int64), ("one",), "noise image")
    backbone = ViT(name="vit_tiny_patch16_224", patch=8)
    run = RunSpec(
        name="benchmark", data=Digits(), views={"global": ViewSpec(size=size)}, backbone=backbone,
        objective={"kind": "mae"}, steps=1, batch_size=1,
    )  # fmt: skip
    from sslkit.core.context import View

    view = View(size, 1, 3, (0.5,) * 3, (0.25,) * 3)
    net = run.backbone.build(view).to(device).eval()
    loading = Loading(view, 1.0, 64, 0, Single(device), lambda *_: None)
    encode = net_encoder(net, Readout(), torch.no_grad)
    mean, std = channel_statistics(view.mean, view.std, device)

    @torch.no_grad()
    def bare() -> torch.Tensor:
        made = []
        for part in images.split(64):
            x = (resize_center(to_float(part), size).to(device) - mean) / std
            made.append(net([Request(x[None], None, "drop", ())])[0].cls[0])
        return torch.cat(made)

    def ours() -> torch.Tensor:
        return rows(source, lambda x, _: encode(x), loading).values

    same = float((bare() - ours()).abs().max())
    found = best({"ours": ours, "bare loop": bare}, 5, device)
    tell(f"extraction, {count} x {size} px", found, found["ours"] / found["bare loop"], 1.05)
    assert same < 1e-3, same


def linear(device: torch.device) -> None:
    """`choose` with one setting and with 24, for features of some widths."""
    generator = torch.Generator().manual_seed(0)
    default = LinearProbe()
    for count, width, classes in ((1437, 128, 10), (5000, 384, 10)):
        values = torch.randn(count, width, generator=generator).to(device)
        labels = torch.randint(0, classes, (count,), generator=generator).to(device)
        train = Features(values, labels, tuple(map(str, range(classes))))
        one = Recipe((0.1,), 10, default.batch_size, default.holdout)
        many = one._replace(
            learning_rates=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5), weight_decays=(0.0, 1e-6, 1e-5, 1e-4)
        )
        recipes = {"one": one, "24": many}
        works = {name: partial(choose, train, classes, recipe, 0) for name, recipe in recipes.items()}
        found = best(works, 4, device)
        tell(f"linear, {count} x {width}", found, found["24"] / found["one"], 3.0)


def knn(device: torch.device, queries: int, bank: int, width: int) -> None:
    """`nearest` and the three engines that it is held against, for the same neighbors."""
    import faiss
    from sklearn.neighbors import NearestNeighbors

    generator = torch.Generator().manual_seed(0)
    asked, known = (
        F.normalize(torch.randn(rows, width, generator=generator), dim=1).to(device)
        for rows in (queries, bank)
    )

    def flat() -> np.ndarray:
        index = faiss.IndexFlatIP(width)
        index.add(known.cpu().numpy())
        return index.search(asked.cpu().numpy(), K)[1]

    def chunked() -> torch.Tensor:
        return torch.cat([(part @ known.T).topk(K, dim=1).indices for part in asked.split(256)])

    def brute() -> np.ndarray:
        fitted = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(known.cpu().numpy())
        return fitted.kneighbors(asked.cpu().numpy(), return_distance=False)

    works = {
        "ours": lambda: nearest(asked, known, K),
        "faiss": flat,
        "torch": chunked,
        "scikit-learn": brute,
    }
    ours, theirs = (
        nearest(asked[:200], known, K).rows.cpu(),
        (asked[:200] @ known.T).topk(K, dim=1).indices.cpu(),
    )
    found = best(works, 2, device)
    rival = min(seconds for name, seconds in found.items() if name != "ours")
    tell(f"k-NN, {queries} x {bank} x {width}", found, found["ours"] / rival, 1.0)
    print(f"{'':<34} equal neighbors of 200 queries: {float((ours == theirs).float().mean()):.4f}")


def main() -> None:
    """All of it, or one part."""
    parser = argparse.ArgumentParser(description="what evaluation costs")
    parser.add_argument("--only", choices=["extraction", "linear", "knn"])
    parser.add_argument("--long", action="store_true", help="10,000 queries in place of 2,000")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: on a busy machine")
    options = parser.parse_args()
    global clock
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    device = torch.device(options.device)
    print(f"device {device}, {torch.get_num_threads()} CPU threads", flush=True)
    parts: dict[str, Callable[[], None]] = {
        "extraction": lambda: extraction(device),
        "linear": lambda: linear(device),
        "knn": lambda: knn(device, 10_000 if options.long else 2_000, 50_000, 512),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            part()


if __name__ == "__main__":
    main()
