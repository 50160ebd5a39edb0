"""Sections on spec, environment and cost of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import yaml

from sslkit.analysis.scaling.sweep_results import read_sweep
from sslkit.errors import SslkitError
from sslkit.report.page.charts import number
from sslkit.report.page.html import Child, Html, facts, folded, note, table, tag
from sslkit.report.run_data import RunData, finite
from sslkit.runs.budget import flops_text


def spec(run: RunData) -> Html:
    """The resolved spec."""
    text = yaml.safe_dump(run.lock["spec"], sort_keys=False, allow_unicode=True)
    return folded("Every field, as it was resolved", tag("pre", tag("code", text), tabindex=0))


def environment(run: RunData) -> Html:
    """Versions, device, commit and the command."""
    lock, resolved = run.lock, run.lock["resolved"]
    items: list[tuple[Child, Child]] = [
        ("Device", resolved.get("device")),
        ("Processes", resolved.get("ranks")),
        ("Precision", resolved.get("precision")),
        ("Compiled", {True: "yes", False: "no"}.get(resolved.get("compile"))),
        ("Python", lock.get("python")),
        ("Platform", lock.get("platform")),
        ("Commit", _commit(lock.get("git"))),
        ("Command", tag("code", " ".join(lock["command"])) if lock.get("command") else None),
        ("Weights", tag("code", str(run.summary.get("weights_sha256", ""))[:16])),
    ]
    versions = {**lock.get("packages", {}), **lock.get("plugins", {})}
    shown = facts((name, value) for name, value in items if value not in (None, ""))
    packages = folded("Packages and plugins", table("Versions", ["Package", "Version"], versions.items()))
    rows = list(_lineage(lock))
    lineage = table("Lineage", ["Step", "What changed"], rows, left=(0, 1)) if rows else ""
    return Html(shown + lineage + packages)


def _lineage(lock: Mapping[str, Any]) -> Iterator[tuple[Child, Child]]:
    """(step, what changed there): fields of the spec, data."""
    for entry in lock.get("lineage") or ():
        step = f"{entry.get('step', 0):,}"
        if origin := entry.get("from"):
            yield step, f"began with {origin.get('folder')}, step {origin.get('step', 0):,}"
        for path, values in (entry.get("spec") or {}).items():
            yield step, _change(path, values)
        for place, values in (entry.get("data") or {}).items():
            yield step, f"{place}: {', '.join(values.get('what') or ())}"


def _change(path: str, values: Mapping[str, Any]) -> str:
    if path == "extended" and values.get("now"):
        return f"made longer; schedules: {values['now'][-1].get('schedule')}"
    return f"{path}: {values.get('then')} to {values.get('now')}"


def _commit(git: str | None) -> Child:
    if not git:
        return None
    commit, _, changed = git.partition("+")
    return [tag("code", commit[:12]), f", with {changed}" if changed else ""]


def cost(run: RunData) -> Html:
    """Time, images, compute and energy."""
    items = list(_spent(run))
    return Html(
        facts((name, value) for name, value, _ in items)
        + note(" ".join(remark for *_, remark in items if remark))
    )


def _spent(run: RunData) -> Iterator[tuple[str, str, str]]:
    """(what, how much, what a reader must know)."""
    resolved, seconds = run.lock["resolved"], finite(run.summary.get("seconds"))
    if seconds is not None:
        yield "Training time", str(timedelta(seconds=round(seconds))), "Evaluations are not in the time."
        ranks, device = int(resolved.get("ranks", 1)), str(resolved.get("device", ""))
        if not device.startswith("cpu"):
            yield "GPU hours", number(seconds * ranks / 3600), ""
    images = run.step * int(run.lock["spec"].get("batch_size", 0))
    yield "Images seen", f"{images:,}", ""
    if seconds:
        yield "Images a second", number(images / seconds), ""
    for name, value in resolved.get("parameters", {}).items():
        yield f"Parameters, {name}", f"{value:,}", ""
    yield from _compute(run)
    memory = finite(run.summary.get("peak_memory_mib"))
    if memory is not None:
        yield "Peak memory", f"{memory:,.0f} MiB", ""
    yield from _energy(run)


def _compute(run: RunData) -> Iterator[tuple[str, str, str]]:
    if not run.summary:
        return
    try:
        (row,) = read_sweep([run.run_dir]).rows
    except (SslkitError, KeyError, ValueError):
        return
    if "tokens" in row.values:
        yield "Tokens", f"{row.values['tokens']:,.0f}", ""
    if "flops" in row.values:
        yield "Compute", flops_text(row.values["flops"]), " ".join(f"{n}." for n in row.notes if "FLOP" in n)


def _energy(run: RunData) -> Iterator[tuple[str, str, str]]:
    joules = finite(run.summary.get("energy_joules"))
    if joules is None:
        yield (
            "Energy",
            "not known",
            "Energy is known where the counters of the machine (NVML, RAPL) can be read.",
        )
        return
    of = run.summary.get("energy_of") or "the machine"
    yield "Energy", f"{number(joules / 3600)} Wh", f"Energy is that of {of}, other programs included."
