"""Names of evaluations that are not the run's own: of other data, readouts, views, settings or networks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sslkit.core.evaluator import Split
from sslkit.errors import SslkitError
from sslkit.evaluate.evaluation_sources import source_of
from sslkit.evaluate.open_network import Network
from sslkit.runs.evaluations import NAMING, Evaluation, StoredEvaluation, Variant, read_evaluation
from sslkit.runs.lock import LOCK, read_lock, trained_spec
from sslkit.runs.seal import RUN
from sslkit.runtime.readable import present
from sslkit.specs.families import EvaluatorSpec, SourceSpec
from sslkit.specs.run import RunSpec

LONGEST = 40
"""Characters of what differs in the name of a file."""


class Reference(NamedTuple):
    """How a run is measured by itself."""

    spec: RunSpec
    data: Mapping[str, Mapping[str, object]]
    """What the lock says of its data."""
    run: str | None
    """Its id."""


def reference_of(network: Network) -> Reference | None:
    """The run in the folder of `network`; None where there is none, or the network is not of that run."""
    if network.checkpoint is None or not present(network.folder / LOCK):
        return None
    if Path(network.checkpoint).resolve().parent.parent != network.folder.resolve():
        return None
    lock = read_lock(network.folder)
    return Reference(trained_spec(network.folder), lock.get("data") or {}, lock.get(RUN))


def variant_of(
    evaluator: EvaluatorSpec,
    data: SourceSpec,
    record: StoredEvaluation,
    folder: Path,
    reference: Reference | None,
) -> Variant:
    """How `record`, the result of `evaluator` on `data`, differs from what has the plain name in `folder`."""
    label = evaluator.label
    parts: list[tuple[str, object]] = []
    if reference is None:
        strange = present(folder.parent.parent / LOCK)
        parts += [("of another network", record["weights_sha256"])] if strange else []
    else:
        parts += _differences(evaluator, data, record, reference)
    variant = _named(parts)
    listed = reference is not None and any(e.label == label for e in reference.spec.evaluate)
    if listed or not (folder / f"{label}{variant.stem}.json").is_file():
        return variant
    try:
        there = read_evaluation(folder / f"{label}{variant.stem}.json")
    except SslkitError:
        return variant
    return _named([*parts, *_from_file(record, there)])


def _named(parts: list[tuple[str, object]]) -> Variant:
    if not parts:
        return Variant()
    words = ", ".join(words for words, _ in parts)
    content = json.dumps([value for _, value in parts], sort_keys=True, default=str)
    short = re.sub(r"[^\w.]+", "-", words)[:LONGEST].strip("-")
    return Variant(words, f"@{short}-{hashlib.sha256(content.encode()).hexdigest()[:6]}")


def _differences(
    evaluator: EvaluatorSpec, data: SourceSpec, record: StoredEvaluation, reference: Reference
) -> Iterator[tuple[str, object]]:
    """(words, content) of each part in which an evaluation is not the run's own."""
    run = reference.spec
    listed = next((e for e in run.evaluate if e.label == evaluator.label), None)
    prints = {split: part["fingerprint"] for split, part in record["data"].items()}
    if any(_other_data(evaluator, listed, data, split, prints[split], reference) for split in prints):
        yield f"on {name_of(source_of(evaluator, data, 'test'))}", prints
    readout = run.readout.model_dump(mode="json")
    yield from _fields(readout, record["readout"], ("batch_size",))
    view = run.views[run.first_view]
    size = view.size if isinstance(view.size, int) else list(view.size)
    shown = {"size": size, "mean": list(view.normalize.mean), "std": list(view.normalize.std)}
    yield from _fields(shown, record["view"], ())
    if listed is not None:
        yield from _fields(listed.model_dump(mode="json"), record["settings"], NAMING)


def _fields(
    then: Mapping[str, object], now: Mapping[str, object], free: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, object]]]:
    for name in now:
        if name not in free and now[name] != then.get(name):
            plain = isinstance(now[name], str | int | float)
            yield f"{name} {now[name]}" if plain else f"other {name}", (name, now[name])


def _other_data(
    evaluator: EvaluatorSpec,
    listed: EvaluatorSpec | None,
    data: SourceSpec,
    split: str,
    fingerprint: str,
    run: Reference,
) -> bool:
    """Whether the images of `split` are not those that the run itself is measured on."""
    side: Split = "train" if split == "train" else "test"
    usual = run.spec.data if listed is None else source_of(listed, run.spec.data, side)
    place = f"data.{split}" if usual == run.spec.data else f"evaluate.{evaluator.label}.{split}"
    if place in run.data:
        return bool(run.data[place]["fingerprint"] != fingerprint)
    return source_of(evaluator, data, side) != usual


def name_of(source: SourceSpec) -> str:
    """A short name of data: the last part of the path of its test split, or else of its first path, or its kind."""
    paths = {name: value for name, value in source if isinstance(value, Path)}
    path = paths.get("test") or next(iter(paths.values()), None)
    return source.kind_name() if path is None else (path.name or str(path))


def _from_file(record: Mapping[str, object], there: Evaluation) -> Iterator[tuple[str, object]]:
    """In what a new result differs from the one that has its name."""
    for name in ("settings", "data", "readout", "view", "weights_sha256"):
        mine, theirs = _identity(name, record[name]), _identity(name, getattr(there, name))
        if mine != theirs:
            yield f"other {name.removesuffix('_sha256')}", (name, mine)


def _identity(name: str, value: object) -> object:
    """What of the part `name` of a record decides its numbers."""
    if not isinstance(value, Mapping):
        return value
    if name == "data":
        return {split: part.get("fingerprint") for split, part in value.items()}
    free = {"settings": NAMING, "readout": ("batch_size",)}.get(name, ())
    return {key: inner for key, inner in value.items() if key not in free}
