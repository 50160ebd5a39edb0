"""Training budgets: steps, images, tokens, FLOPs and time until an evaluation. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from sslkit.runs.summary import read_summary
from sslkit.runs.tokens_seen import tokens

TITLES = {
    "steps": "steps",
    "epochs": "epochs",
    "images": "images",
    "tokens": "tokens",
    "flops": "FLOPs",
    "seconds": "time",
}
"""Field -> its title, in the order in which budgets are shown."""
EQUAL = 1.01
"""Ratio up to which two budgets count as the same."""
PREFIXES = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"))


class Budget(NamedTuple):
    """Of one run, or means over the seeds of a setting; None where it is not known."""

    steps: float | None = None
    """Of the optimizer."""
    epochs: float | None = None
    images: float | None = None
    """Steps times batch."""
    tokens: float | None = None
    """That the student encoded, with gradient."""
    flops: float | None = None
    """Floating-point operations of training."""
    seconds: float | None = None
    """Of training, without evaluations; known for the whole run only."""


def budget_of(run_dir: Path, lock: Mapping[str, Any], step: int) -> Budget:
    """The budget of the run in `run_dir` over its first `step` steps.

    Args:
        run_dir: its folder; the time is in its `summary.json`.
        lock: its lock, with `spec` and `resolved`.
        step: at which it was measured.
    """
    spec, resolved = lock["spec"], lock["resolved"]
    batch, per_epoch, per_step = (
        spec.get("batch_size"),
        resolved.get("steps_per_epoch"),
        resolved.get("flops"),
    )
    student = [p for p in resolved.get("passes", ()) if p["net"] == "student" and not p["guide"]]
    return Budget(
        float(step),
        step / per_epoch if per_epoch else None,
        float(step * batch) if batch else None,
        sum(tokens(one, step) for one in student) if student else None,
        float(total_flops(per_step, step)) if per_step else None,
        _seconds(run_dir, step),
    )


def mean_budget(budgets: Sequence[Budget]) -> Budget:
    """The mean of each quantity over runs; None where one lacks it."""
    columns = ([getattr(budget, name) for budget in budgets] for name in TITLES)
    return Budget(*(None if None in column else fmean(column) for column in columns))


def total_flops(per_step: Mapping[int, int], steps: int) -> int:
    """Of the first `steps` steps, from what a step costs from each step on."""
    ends = [*list(per_step)[1:], math.inf]
    lengths = [max(min(end, steps) - begin, 0) for begin, end in zip(per_step, ends, strict=True)]
    return int(sum(length * flops for length, flops in zip(lengths, per_step.values(), strict=True)))


def _seconds(run_dir: Path, step: int) -> float | None:
    """None where the run goes on, or went on after `step`."""
    summary = read_summary(run_dir)
    seconds = summary.get("seconds") if summary.get("step") == step else None
    return None if seconds is None else float(seconds)


def shown(budgets: Sequence[Budget]) -> list[str]:
    """The quantities that any budget has."""
    return [name for name in TITLES if any(getattr(budget, name) is not None for budget in budgets)]


def text_of(name: str, value: float | None) -> str:
    """The quantity `name` for people."""
    if value is None:
        return "-"
    if name == "flops":
        return flops_text(value)
    if name == "seconds":
        return str(timedelta(seconds=round(value)))
    return f"{value:,.4g}" if name == "epochs" else f"{value:,.0f}"


def flops_text(value: float) -> str:
    """For people: `3.2 PFLOP`."""
    size, unit = next((p for p in PREFIXES if value >= p[0]), PREFIXES[-1])
    return f"{value / size:,.4g} {unit}"


def warning(names: Sequence[str], budgets: Sequence[Budget]) -> str | None:
    """A warning where the settings `names` had unequal budgets; None where they had not.

    Times are no reason: they differ between machines.
    """
    unequal = list(_unequal(budgets))
    if not unequal:
        return None
    first = "steps" if "steps" in dict(unequal) else unequal[0][0]
    each = ", ".join(f"{n} {text_of(first, getattr(b, first))}" for n, b in zip(names, budgets, strict=True))
    factors = ", ".join(f"{TITLES[name]} by {factor:.3g}" for name, factor in unequal)
    return (
        f"Budgets differ, by these factors: {factors} ({TITLES[first]}: {each}). "
        "Differences between scores may come from that alone."
    )


def _unequal(budgets: Sequence[Budget]) -> Iterator[tuple[str, float]]:
    """(quantity, largest over smallest)."""
    for name in TITLES:
        values = [v for budget in budgets if (v := getattr(budget, name)) is not None and v > 0]
        if name != "seconds" and values and max(values) / min(values) > EQUAL:
            yield name, max(values) / min(values)
