"""Closing summary of a run, its exit code and the next commands. Torch-free."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping

from sslkit.core.ranks import ranks
from sslkit.runs.summary import Summary
from sslkit.runtime.signals import exit_code

BASELINES = {"start": "start", "untrained": "untrained", "raw pixels": "raw_pixels"}
"""What people call them -> what records do."""


def close(summary: Summary) -> int:
    """Print what a run came to. Returns 0, or for a run that a signal stopped what shells give for that signal."""
    if ranks().rank == 0:
        print("\n".join(lines(summary)), flush=True)
    return 0 if summary["finished"] else exit_code(summary["stopped_by"])


def lines(summary: Summary) -> Iterator[str]:
    """The closing summary of `summary.json`, line by line."""
    run_dir = shlex.quote(summary["paths"]["run"])
    yield ""
    if not summary["finished"]:
        saved = "everything is saved" if summary["paths"]["checkpoint"] else "there is no checkpoint yet"
        yield f"stopped by {summary['stopped_by']} at step {summary['step']}; {saved}. Go on with:"
        yield f"  sslkit resume {run_dir}"
        return
    yield f"{summary['name']}: {summary['step']} steps in {_duration(summary['seconds'])}" + _loss(
        summary["metrics"]
    )
    yield from _scores(summary)
    if summary["skipped_images"]:
        yield f"{summary['skipped_images']} images could not be read; they are listed in {summary['paths']['skipped']}"
    yield "written:"
    for path in _written(summary["paths"]):
        yield f"  {path}"
    yield "next:"
    yield f"  sslkit report {run_dir}"
    if not any(name.startswith("eval/") for name in summary["metrics"]):
        yield f"  sslkit evaluate {run_dir} 'evaluate=[{{kind: knn}}]'"


def _scores(summary: Summary) -> Iterator[str]:
    """One table: a row for each headline metric, with its best and its baselines."""
    rows = [_score(name, summary) for name in _headlines(summary["metrics"])]
    if not rows:
        return
    header = ["", "last", "best", "(step)", *BASELINES]
    used = [i for i in range(len(header)) if i < 4 or any(row[i] for row in rows)]
    table = [[row[i] for i in used] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(used))]
    for row in table:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _score(name: str, summary: Summary) -> list[str]:
    best, short = summary["best"].get(name), name.removeprefix("eval/")
    baselines = [summary["baselines"].get(f"baseline/{kind}/{short}") for kind in BASELINES.values()]
    last = summary["metrics"][name]
    reached = ["", ""] if best is None else [f"{best['value']:.4f}", f"({int(best['step'])})"]
    numbers = ["" if last is None else f"{last:.4f}", *reached]
    return [short.replace("/", " "), *numbers, *("" if b is None else f"{b:.4f}" for b in baselines)]


def _headlines(metrics: Iterable[str]) -> Iterator[str]:
    """The first metric of each evaluation, `eval/LABEL/METRIC`."""
    labels = set[str]()
    for name in metrics:
        of, _, rest = name.partition("/")
        label = rest.partition("/")[0]
        if of == "eval" and label not in labels:
            labels.add(label)
            yield name


def _written(paths: Summary) -> Iterator[str]:
    for key in ("metrics", "lock", "checkpoint"):
        if paths[key]:
            yield paths[key]
    yield from paths["figures"]
    yield os.path.join(paths["run"], "summary.json")  # noqa: PTH118


def _loss(metrics: Mapping[str, float | None]) -> str:
    loss = metrics.get("loss")
    return "" if loss is None else f", loss {loss:.4f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
    )
