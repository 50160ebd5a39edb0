"""What a sweep of `examples/cifar10_cpu.yaml` came to: the table, curves over time, neighbors and a map of features.

    OMP_NUM_THREADS=1 sslkit sweep examples/cifar10_cpu.yaml --set data.root=PATH
    python benchmarks/cifar10_cpu.py [--sweep runs/cifar10-cpu] [--out docs/assets] [--best ROW]

The table goes to the standard output. Rows that are not finished are left out and named. Neighbors and the map are of
seed 0 of `--best`, by default the row with the best mean k-NN.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from quickstart_figure import BASELINES, map_of

from sslkit.functional.nearest_neighbors import nearest
from sslkit.report.sections.features_shown import Looked, Sample, look

COLUMNS = {
    "k-NN": "eval/knn/accuracy",
    "linear probe": "eval/linear/accuracy",
    "1 % of labels": "eval/lowshot/accuracy_1pct",
    "10 % of labels": "eval/lowshot/accuracy_10pct",
}
QUERIES, NEIGHBORS = 10, 8


class Run(NamedTuple):
    """One finished cell."""

    row: str
    folder: Path
    summary: Mapping[str, object]
    records: Sequence[Mapping[str, float]]


def finished(sweep: Path) -> list[Run]:
    """All cells that are done, in the order of the sweep."""
    listed = json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))
    print("missing:", ", ".join(listed["missing"]) or "none", end="\n\n")
    runs = []
    for setting in listed["settings"]:
        for folder in map(Path, setting["runs"]):
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            runs.append(Run(setting["setting"], folder, summary, [json.loads(line) for line in lines]))
    return runs


def by_row(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The seeds of each row."""
    rows: dict[str, list[Run]] = {}
    for run in runs:
        rows.setdefault(run.row, []).append(run)
    return rows


def metric(run: Run, key: str) -> float | None:
    """The last value of `key`."""
    return next((record[key] for record in reversed(run.records) if key in record), None)


def cell(runs: Sequence[Run], key: str) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    values = [100 * value for run in runs if (value := metric(run, key)) is not None]
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def table(rows: Mapping[str, Sequence[Run]]) -> None:
    """Print it, the best k-NN first; the baselines of the first run last."""
    print("| Row | seeds | images | " + " | ".join(COLUMNS) + " |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    for row, runs in sorted(rows.items(), key=lambda item: -knn(item[1])):
        images = max(float(record.get("step", 0)) for record in runs[0].records) * batch(runs[0])
        cells = " | ".join(cell(runs, key) for key in COLUMNS.values())
        print(f"| `{row}` | {len(runs)} | {images:,.0f} | {cells} |")
    for name in BASELINES:
        values = (
            baseline(runs[0], name, key) for runs in list(rows.values())[:1] for key in COLUMNS.values()
        )
        print(f"| {name} | | | " + " | ".join(values) + " |")


def knn(runs: Sequence[Run]) -> float:
    """Mean accuracy over seeds."""
    return statistics.mean(metric(run, COLUMNS["k-NN"]) or 0.0 for run in runs)


def batch(run: Run) -> int:
    """Images of a step."""
    from sslkit.specs.load import load

    return load(run.folder / "spec.yaml", []).batch_size


def baseline(run: Run, name: str, key: str) -> str:
    """What raw pixels or the untrained network have."""
    baselines = run.summary["baselines"]
    assert isinstance(baselines, dict)
    value = baselines.get(f"baseline/{name.replace(' ', '_')}/{key.removeprefix('eval/')}")
    return "" if value is None else f"{100 * value:.1f}"


def curves(axes: Axes, rows: Mapping[str, Sequence[Run]]) -> None:
    """k-NN over the share of the budget: runs are as long as each other, whatever a step of theirs costs."""
    ordered = sorted(rows.items(), key=lambda item: -knn(item[1]))
    for place, (row, runs) in enumerate(ordered):
        key = COLUMNS["k-NN"]
        last = max(record["step"] for record in runs[0].records)
        points = [(30 * r["step"] / last, 100 * r[key]) for r in runs[0].records if key in r]
        axes.plot(*zip(*points, strict=True), color=plt.get_cmap("tab10")(place), label=row)
    pixels = float(baseline(ordered[0][1][0], "raw pixels", COLUMNS["k-NN"]))
    axes.axhline(pixels, color="0.3", linestyle="--", label="raw pixels")
    axes.set(xlabel="minutes of one core", ylabel="k-NN accuracy, %", xlim=(0, 30))
    axes.legend(loc="lower right", fontsize=7, ncols=2, frameon=False)


def picture(sample: Sample, row: int):
    """`[32, 32, 3]`."""
    return sample.source.load(int(sample.indices[row])).permute(1, 2, 0).numpy()


def neighbors(looked: Looked, path: Path) -> None:
    """A test image of each class and its nearest training images; those of another class are framed."""
    assert looked.queries.labels is not None
    assert looked.bank.labels is not None
    queries = [int((looked.queries.labels == label).nonzero()[0]) for label in range(QUERIES)]
    near = nearest(looked.queries.values[torch.tensor(queries)], looked.bank.values, NEIGHBORS).rows
    drawn, axes = plt.subplots(QUERIES, NEIGHBORS + 1, figsize=(5.4, 6), layout="constrained")
    for i, query in enumerate(queries):
        axes[i, 0].imshow(picture(looked.queries, query))
        axes[i, 0].set_ylabel(looked.queries.label(query), rotation=0, ha="right", va="center")
        for j, row in enumerate(near[i].tolist(), start=1):
            axes[i, j].imshow(picture(looked.bank, row))
            same = looked.bank.labels[row] == looked.queries.labels[query]
            for spine in axes[i, j].spines.values():
                spine.set(visible=not same, color="tab:red", linewidth=2)
        for ax in axes[i]:
            ax.set(xticks=[], yticks=[])
    axes[0, 0].set_title("test", fontsize=8)
    axes[0, 1].set_title("nearest training images", fontsize=8, loc="left")
    drawn.savefig(path, dpi=110)
    print(path)


def figures(rows: Mapping[str, Sequence[Run]], best: str, out: Path) -> None:
    """Curves beside the map of features, and the neighbors."""
    looked = look(rows[best][0].folder)
    drawn, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    curves(left, rows)
    map_of(right, f"{best}: features of test images, t-SNE", looked.queries.values.numpy(), looked.queries)
    path = out / "cifar10_cpu.png"
    drawn.savefig(path, dpi=110)
    print(path)
    neighbors(looked, out / "cifar10_cpu_neighbors.png")


def main() -> None:
    """Print the table and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", type=Path, default=Path("runs/cifar10-cpu"))
    parser.add_argument("--out", type=Path, default=Path("docs/assets"))
    parser.add_argument("--best", help="row of neighbors and map")
    args = parser.parse_args()
    rows = by_row(finished(args.sweep))
    table(rows)
    figures(rows, args.best or max(rows, key=lambda row: knn(rows[row])), args.out)


if __name__ == "__main__":
    main()
