"""What a run came to, without what measures the machine: two outcomes are equal or the run was harmed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

MEASURED = frozenset(
    {
        "images_per_s", "seconds", "joules", "energy_joules", "energy_of", "peak_memory_mib", "paths",
        "run", "checksum", "checkpoint",
    }
)  # fmt: skip
"""Fields that say how long something took, where it is, by which command, or which of two equal runs."""
ASIDE = frozenset({"report.html", ".owner", ".storing"})
"""Files that are asked for separately, and those that locks are on."""

KEPT = "features"
"""A folder of what can be made again."""


class Outcome(NamedTuple):
    """A run folder as its owner sees it."""

    summary: Any
    records: Any
    evaluations: Mapping[str, Any]
    weights: Mapping[str, str]
    """Digest of each checkpoint's state."""
    files: frozenset[str]
    """Every file there is."""

    def leaving_out(self, names: Collection[str]) -> Outcome:
        """As it is, without the files `names`."""
        evaluations = {name: value for name, value in self.evaluations.items() if name not in names}
        weights = {step: value for step, value in self.weights.items() if state_of(step) not in names}
        return Outcome(
            None if "summary.json" in names else self.summary,
            [] if "metrics.jsonl" in names else self.records,
            evaluations,
            weights,
            self.files - set(names),
        )


def state_of(step: str) -> str:
    """The file of a checkpoint's state."""
    return f"checkpoints/{step}/state.pt"


def outcome(run_dir: Path, aside: Collection[str] = ()) -> Outcome:
    """Of the finished run in `run_dir`, without the files `aside`.

    Raises:
        OSError, ValueError: it is not whole.
    """
    summary, records = run_dir / "summary.json", run_dir / "metrics.jsonl"
    lines = [] if records.name in aside else records.read_text().splitlines()
    evaluations = {
        str(path.relative_to(run_dir)): (
            _without(json.loads(path.read_text()), run_dir) if path.suffix == ".json" else _digest(path)
        )
        for path in sorted(run_dir.glob("evaluations/*/*"))
        if path.is_file() and str(path.relative_to(run_dir)) not in aside
    }
    files = {str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if p.is_file() and p.parent.name != KEPT}
    return Outcome(
        None if summary.name in aside else _without(json.loads(summary.read_text()), run_dir),
        [_without(json.loads(line), run_dir) for line in lines],
        evaluations,
        {path.parent.name: _digest(path) for path in sorted(run_dir.glob("checkpoints/*/state.pt"))},
        frozenset(files - ASIDE),
    ).leaving_out(aside)


def difference(
    expected: Outcome, run_dir: Path, aside: Collection[str] = (), *, more: bool = False
) -> str | None:
    """What differs between `expected` and the run in `run_dir`, in a line; None where nothing does.

    Files `aside` are not compared. `more`: there may be other evaluations beside those expected.
    """
    try:
        if more:
            places = (str(path.relative_to(run_dir)) for path in run_dir.glob("evaluations/*/*"))
            aside = {*aside, *(place for place in places if place not in expected.files)}
        reached = outcome(run_dir, aside)
    except (OSError, ValueError) as error:
        return f"not whole: {error}"
    for name, ours, theirs in zip(Outcome._fields, expected.leaving_out(aside), reached, strict=True):
        if ours != theirs:
            return f"other {name}: {_where(ours, theirs)}"
    return None


def _where(ours: Any, theirs: Any) -> str:
    if isinstance(ours, frozenset):
        return f"missing {sorted(ours - theirs)}, beyond {sorted(theirs - ours)}"
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        return ", ".join(f"{key}: {_where(ours.get(key), theirs.get(key))}" for key in keys[:3])
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return f"{len(theirs)} instead of {len(ours)}"
        return next(_where(a, b) for a, b in zip(ours, theirs, strict=True) if a != b)
    return f"{str(ours)[:60]} -> {str(theirs)[:60]}"


def _without(value: Any, run_dir: Path) -> Any:
    """`value` without measured fields, and with another name for the folder."""
    if isinstance(value, dict):
        return {key: _without(inner, run_dir) for key, inner in value.items() if key not in MEASURED}
    if isinstance(value, list):
        return [_without(inner, run_dir) for inner in value]
    return value.replace(str(run_dir), "RUN") if isinstance(value, str) else value


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def newest_step(run_dir: Path) -> int:
    """The step of the newest checkpoint that is whole; 0 where there is none."""
    folders = (path.parent.name for path in run_dir.glob("checkpoints/step-*/meta.json"))
    return max((int(name.removeprefix("step-")) for name in folders), default=0)


def plain(text: str, run_dir: Path) -> str:
    """What a command printed or wrote, with another name for the folder."""
    return text.replace(str(run_dir), "RUN").replace(run_dir.name, "RUN")


def plain_page(run_dir: Path) -> str:
    """The report of the run, with another name for the folder."""
    return plain((run_dir / "report.html").read_text(), run_dir)
