"""What a sweep of `examples/cifar10_cpu.yaml` came to: the table, curves over time, neighbors and a map of features.

    OMP_NUM_THREADS=1 sslkit sweep examples/cifar10_cpu.yaml --set data.root=PATH
    python benchmarks/cifar10_cpu.py [--sweep runs/cifar10-cpu] [--record FILE] [--out docs/assets] [--best ROW]

What is finished goes into `--record` (by default `cifar10_cpu.jsonl` beside this file), one line a run, in place of an
older run of the same row and seed; table and curves are of all that is recorded. The table goes to the standard output.
Neighbors and the map are of seed 0 of `--best`, by default the best row of this sweep.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
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
from sslkit.specs.load import load

COLUMNS = {
    "k-NN": "eval/knn/accuracy",
    "linear probe": "eval/linear/accuracy",
    "1 % of labels": "eval/lowshot/accuracy_1pct",
    "10 % of labels": "eval/lowshot/accuracy_10pct",
}
QUERIES, NEIGHBORS = 10, 8
RECORD = Path(__file__).with_suffix(".jsonl")


class Cell(NamedTuple):
    """A finished run of the sweep."""

    row: str
    seed: int
    images: int
    """Seen in training."""
    seconds: float
    """Of training, evaluations left out."""
    scores: Mapping[str, float]
    """By column."""
    curve: Sequence[tuple[float, float]]
    """(share of the steps, k-NN)."""
    baselines: Mapping[str, Mapping[str, float]]
    """By name and column."""


def read_cell(row: str, folder: Path) -> Cell:
    """What a run folder holds."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records: list[Mapping[str, float]] = [json.loads(line) for line in lines]
    spec = load(folder / "spec.yaml", [])
    last = max(int(record.get("step", 0)) for record in records)
    scores = {
        name: next(record[key] for record in reversed(records) if key in record)
        for name, key in COLUMNS.items()
    }
    curve = [(r["step"] / last, r[COLUMNS["k-NN"]]) for r in records if COLUMNS["k-NN"] in r]
    baselines = {name: baseline(summary["baselines"], name) for name in BASELINES}
    return Cell(row, spec.seed, last * spec.batch_size, summary["seconds"], scores, curve, baselines)


def baseline(values: Mapping[str, float], name: str) -> dict[str, float]:
    """What raw pixels or the untrained network have, as far as it was measured."""
    keys = {c: f"baseline/{name.replace(' ', '_')}/{key.removeprefix('eval/')}" for c, key in COLUMNS.items()}
    return {column: values[key] for column, key in keys.items() if key in values}


def finished(sweep: Path) -> dict[tuple[str, int], tuple[Cell, Path]]:
    """All cells of the sweep that are done, by row and seed."""
    listed = json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))
    print("not finished here:", ", ".join(listed["missing"]) or "none", end="\n\n")
    folders = [(s["setting"], Path(folder)) for s in listed["settings"] for folder in s["runs"]]
    cells = [(read_cell(row, folder), folder) for row, folder in folders]
    return {(cell.row, cell.seed): (cell, folder) for cell, folder in cells}


def recorded(path: Path) -> dict[tuple[str, int], Cell]:
    """Cells of this and of earlier sweeps."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    cells = [Cell(**json.loads(line)) for line in lines]
    return {(cell.row, cell.seed): cell for cell in cells}


def write(path: Path, cells: Mapping[tuple[str, int], Cell]) -> None:
    """One cell a line, so that a change of one shows as that."""
    lines = [json.dumps(cells[key]._asdict()) for key in sorted(cells)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def by_row(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """The seeds of each row, the best k-NN first."""
    rows: dict[str, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.row, []).append(cell)
    return dict(sorted(rows.items(), key=lambda item: -mean(item[1], "k-NN")))


def mean(cells: Sequence[Cell], column: str) -> float:
    """Over seeds."""
    return statistics.mean(cell.scores[column] for cell in cells)


def percent(cells: Sequence[Cell], column: str) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    values = [100 * cell.scores[column] for cell in cells]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def table(rows: Mapping[str, Sequence[Cell]]) -> None:
    """Print it; the baselines of the best row last."""
    print("| Row | seeds | images seen | minutes | " + " | ".join(COLUMNS) + " |")
    print("|---" * (4 + len(COLUMNS)) + "|")
    for row, cells in rows.items():
        minutes = statistics.mean(cell.seconds for cell in cells) / 60
        scores = " | ".join(percent(cells, column) for column in COLUMNS)
        print(f"| `{row}` | {len(cells)} | {cells[0].images:,} | {minutes:.0f} | {scores} |")
    for name, values in next(iter(rows.values()))[0].baselines.items():
        shown = (f"{100 * values[column]:.1f}" if column in values else "" for column in COLUMNS)
        print(f"| {name} | | | | " + " | ".join(shown) + " |")


def curves(axes: Axes, rows: Mapping[str, Sequence[Cell]]) -> None:
    """k-NN over the share of the steps, of which each row has as many as half an hour of a core makes."""
    for place, (row, cells) in enumerate(rows.items()):
        points = [(100 * share, 100 * accuracy) for share, accuracy in cells[0].curve]
        axes.plot(*zip(*points, strict=True), color=plt.get_cmap("tab10")(place), label=row)
    pixels = 100 * next(iter(rows.values()))[0].baselines["raw pixels"]["k-NN"]
    axes.axhline(pixels, color="0.3", linestyle="--", label="raw pixels")
    axes.set(xlabel="share of the steps, %", ylabel="k-NN accuracy, %", xlim=(0, 100))
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
    words = axes[0, 1].text(0, 1.15, "nearest training images", fontsize=8, transform=axes[0, 1].transAxes)
    words.set_in_layout(False)  # or its column would be as wide as it
    drawn.savefig(path, dpi=110)
    print(path)


def figures(rows: Mapping[str, Sequence[Cell]], folder: Path, out: Path) -> None:
    """Curves beside the map of features of the run in `folder`, and its neighbors."""
    looked, row = look(folder), folder.name.partition("__")[0]
    drawn, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    curves(left, rows)
    map_of(right, f"{row}: features of test images, t-SNE", looked.queries.values.numpy(), looked.queries)
    path = out / "cifar10_cpu.png"
    drawn.savefig(path, dpi=110)
    print(path)
    neighbors(looked, out / "cifar10_cpu_neighbors.png")


def main() -> None:
    """Record, print the table and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", type=Path, default=Path("runs/cifar10-cpu"))
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--out", type=Path, default=Path("docs/assets"))
    parser.add_argument("--best", help="row of neighbors and map")
    args = parser.parse_args()
    done = finished(args.sweep)
    cells = recorded(args.record) | {key: cell for key, (cell, _) in done.items()}
    write(args.record, cells)
    rows = by_row(cells.values())
    table(rows)
    here = [row for row in rows if (row, 0) in done]
    figures(rows, done[args.best or here[0], 0][1], args.out)


if __name__ == "__main__":
    main()
