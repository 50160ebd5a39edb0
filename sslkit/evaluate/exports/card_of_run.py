"""What the folder of a run knows of the network that is exported."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from sslkit.evaluate.exports.opened_model import OpenedModel
from sslkit.runs import metrics_log
from sslkit.runs.budget import TITLES, budget_of, text_of
from sslkit.runs.evaluations import Evaluation, evaluations, steps
from sslkit.runs.lock import Fields, read_lock, trained_spec
from sslkit.runs.summary import read_summary
from sslkit.runs.weights import weights_sha256
from sslkit.specs.run import RunSpec

BASELINES = {"raw_pixels": "raw pixels", "untrained": "untrained", "start": "at the start"}
"""Name in the records -> heading."""
SHOWN = ("objective", "objectives", "balance", "backbone", "views", "optimizer", "batch_size", "precision")
"""Fields of the spec that say how the network was trained, as far as they were set."""
JOULES_AN_HOUR = 3600.0


class RunFacts(NamedTuple):
    """For a card."""

    name: str
    objectives: tuple[str, ...]
    """Their kinds."""
    training: Mapping[str, str]
    """What, and how much."""
    spec: str
    """YAML of what was set of the network and its training."""
    score_headings: tuple[str, ...]
    scores: list[tuple[str, ...]]
    """Rows of a table; of these weights only."""


def facts_of(model: OpenedModel) -> RunFacts:
    """What is known of the network of a run, as its folder has it; anything that is not known is left out.

    Raises:
        CheckpointError: a file of the run is damaged.
    """
    assert model.run_dir is not None, "of a run"
    lock, spec = read_lock(model.run_dir), trained_spec(model.run_dir)
    headings, rows = _scores(model, model.run_dir, [evaluator.label for evaluator in spec.evaluate])
    return RunFacts(
        spec.name or model.run_dir.resolve().name,
        tuple(dict.fromkeys(objective.kind_name() for objective in spec.terms.values())),
        dict(_training(model, model.run_dir, lock)),
        _set(spec),
        headings,
        rows,
    )


def _set(spec: RunSpec) -> str:
    """The fields of `SHOWN` that say anything; of files the names only."""
    fields = _plain(spec.model_dump(mode="python", include=set(SHOWN), exclude_none=True))
    assert type(fields) is dict, "as it was"
    return yaml.safe_dump({name: fields[name] for name in SHOWN if name in fields}, sort_keys=False)


def _plain(value: object) -> object:
    """`value` as YAML holds it, without what is empty."""
    match value:
        case dict():
            plain = {str(key): _plain(inner) for key, inner in value.items()}
            return {key: inner for key, inner in plain.items() if inner not in ({}, [])}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case Path():
            return value.name
    return value


def _training(model: OpenedModel, run_dir: Path, lock: Fields) -> Iterator[tuple[str, str]]:
    resolved, summary = lock["resolved"], read_summary(run_dir)
    yield from _data(lock)
    if start := lock["spec"].get("start_from"):
        yield "Started from", f"run `{Path(start['run']).name}`, checkpoint {start['checkpoint']}"
    for note in resolved.get("notes", ()):
        if str(note).startswith("weights: "):
            yield "Started from", str(note).removeprefix("weights: ")
            break
    for entry in lock.get("lineage") or ():
        changed = ", ".join([*entry.get("spec", {}), *entry.get("data", {})])
        if changed:
            yield f"Changed at step {entry.get('step', 0):,}", changed
    budget = budget_of(run_dir, lock, model.step)
    for name, title in TITLES.items():
        value = getattr(budget, name)
        if value is not None:
            yield title[0].upper() + title[1:], text_of(name, value)
    yield from _machine(resolved, summary if summary.get("step") == model.step else {})
    versions = lock.get("packages", {})
    yield "Versions", ", ".join(f"{n} {versions[n]}" for n in ("sslkit", "torch", "timm") if n in versions)
    yield "Weights", f"step {model.step:,}, sha256 {weights_sha256(model.net)[:16]}"


def _data(lock: Fields) -> Iterator[tuple[str, str]]:
    data = lock["spec"].get("data", {})
    source = (lock.get("data") or {}).get("data.train", {})
    images = source.get("images") or lock["resolved"].get("images")
    parts = [f"`{data['kind']}`"] if "kind" in data else []
    parts += [f"{images:,} images"] if images else []
    parts += [f"fingerprint {source['fingerprint'][:16]}"] if source.get("fingerprint") else []
    if parts:
        yield "Data", ", ".join(parts)


def _machine(resolved: Fields, summary: Fields) -> Iterator[tuple[str, str]]:
    """The machine, and what the whole run took of it, where these are its last weights."""
    device, ranks = resolved.get("device"), resolved.get("ranks", 1)
    if device:
        yield "Device", str(device) + (f", {ranks} processes" if ranks > 1 else "")
    memory, joules = summary.get("peak_memory_mib"), summary.get("energy_joules")
    if memory:
        yield "Peak memory", f"{memory:,.0f} MiB"
    if joules:
        of = summary.get("energy_of") or "the machine"
        yield "Energy", f"{joules / JOULES_AN_HOUR:,.3g} Wh, of {of}"


def _scores(
    model: OpenedModel, run_dir: Path, labels: list[str]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows: the headline of each evaluation of exactly these weights, and its baselines.

    `labels` come first, in this order.
    """
    if model.step not in steps(run_dir):
        return (), []
    sha256 = weights_sha256(model.net)
    stored = [e for e in evaluations(run_dir, model.step).values() if e.weights_sha256 == sha256]
    order = {label: place for place, label in enumerate(labels)}
    results = sorted(stored, key=lambda e: (bool(e.variant), order.get(e.label, len(order))))
    records = metrics_log.read(run_dir)
    baselines = {
        name: [
            None if e.variant else _recorded(records, f"baseline/{name}/{e.label}/{e.headline}")
            for e in results
        ]
        for name in BASELINES
    }
    present = [name for name, values in baselines.items() if any(value is not None for value in values)]
    headings = (
        "Evaluation",
        "Protocol",
        "Metric",
        "Value",
        "95 % interval",
        *(BASELINES[n] for n in present),
        "Images",
    )
    rows = [
        (*_row(evaluation), *(_number(baselines[name][place]) for name in present), _images(evaluation))
        for place, evaluation in enumerate(results)
    ]
    return headings, rows


def _row(evaluation: Evaluation) -> tuple[str, ...]:
    headline = evaluation.headline
    interval = evaluation.intervals.get(headline)
    between = "" if interval is None else " to ".join(_number(end) for end in interval)
    return (
        evaluation.title,
        f"`{evaluation.protocol}`",
        headline.replace("_", " "),
        _number(evaluation.metrics[headline]),
        between,
    )


def _recorded(records: list[Fields], key: str) -> float | None:
    return next((record[key] for record in reversed(records) if key in record), None)


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.4f}"


def _images(evaluation: Evaluation) -> str:
    split = evaluation.data.get("test") or next(iter(evaluation.data.values()), None)
    count = 0 if split is None else split.get("images", 0)
    return f"{count:,}" if count else ""
