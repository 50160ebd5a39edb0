"""The front page's figure: maps of the quickstart's test digits by raw pixels and by features, and k-NN over training.

    sslkit run examples/quickstart.yaml
    python benchmarks/quickstart_figure.py [--run runs/quickstart] [--out docs/assets/quickstart.png]

t-SNE compares images by cosine, as k-NN does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from sslkit.report.sections.feature_maps import tsne
from sslkit.report.sections.features_shown import Sample, look

BASELINES = {"raw pixels": "baseline/raw_pixels/knn/accuracy", "untrained": "baseline/untrained/knn/accuracy"}


def map_of(axes: Axes, title: str, values: NDArray[np.float32], sample: Sample) -> None:
    """Draw each image as a point of its class on a t-SNE map of `values`, `[N, D]`, by cosine as k-NN compares them."""
    assert sample.labels is not None
    places = tsne(values / np.linalg.norm(values, axis=1, keepdims=True), seed=0)
    for label, name in enumerate(sample.classes):
        rows = (sample.labels == label).numpy()
        axes.scatter(*places[rows].T, s=7, color=plt.get_cmap("tab10")(label))
        axes.text(*np.median(places[rows], axis=0), name, weight="bold", ha="center", va="center")
    axes.set(title=title, xticks=[], yticks=[])


def curve(axes: Axes, run: Path) -> None:
    """k-NN accuracy over epochs, with what raw pixels and the untrained network have."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    points = [(r["epoch"], r["eval/knn/accuracy"]) for r in records if "eval/knn/accuracy" in r]
    axes.plot(*zip(*points, strict=True), marker="o", color="C0", label="trained")
    for (name, key), style in zip(BASELINES.items(), ("--", ":"), strict=True):
        axes.axhline(summary["baselines"][key], color="0.3", linestyle=style, label=name)
    axes.set(title="k-NN accuracy", xlabel="epoch", xlim=(0, None))
    axes.legend(loc="center right", frameon=False)


def main() -> None:
    """Draw the three panels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--out", type=Path, default=Path("docs/assets/quickstart.png"))
    args = parser.parse_args()
    test = look(args.run).queries
    pixels = np.stack([test.source.load(int(index)).numpy().ravel() for index in test.indices])
    drawn, (first, second, third) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    map_of(first, "raw pixels, t-SNE", pixels.astype(np.float32), test)
    map_of(second, "features, t-SNE", test.values.numpy(), test)
    curve(third, args.run)
    drawn.savefig(args.out, dpi=110)
    print(args.out)


if __name__ == "__main__":
    main()
