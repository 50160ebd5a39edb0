"""Writes evaluation results: scores, predictions and figures."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sslkit.core.evaluator import Scores
from sslkit.errors import InUseError, StorageError
from sslkit.evaluate.evaluation_sources import Sources, source_of
from sslkit.evaluate.readout import Reading
from sslkit.runs.evaluations import StoredEvaluation, StoredSplit, Variant, folder_of, packed, steps
from sslkit.runs.owner import STORING, owned
from sslkit.runs.seal import RUN, sealed
from sslkit.runtime.atomic_files import draw_whole, write_bytes, write_json
from sslkit.runtime.optional_work import component, optional
from sslkit.specs.families import EvaluatorSpec, SourceSpec
from sslkit.specs.metrics import directions
from sslkit.specs.readout import Readout
from sslkit.statistics import accuracy_interval

FIGURES = "figures"
PATIENCE = 60.0
"""Seconds to wait for another process that writes results in the same folder."""

Name = Callable[[EvaluatorSpec, StoredEvaluation], Variant]
"""How the result of an evaluator, as it will be written, differs from the run's own."""


def plain_name(evaluator: EvaluatorSpec, record: StoredEvaluation) -> Variant:
    """The variant of the run's own evaluation: none."""
    return Variant()


class About(NamedTuple):
    """What is common to the evaluations of one network."""

    run_dir: Path
    step: int
    weights_sha256: str
    checkpoint: str | None
    unreadable: tuple[str, ...]
    run: str | None = None
    """The id of the run in `run_dir`, where the network is of it."""


def store(
    about: About,
    evaluators: Mapping[int, EvaluatorSpec],
    results: Mapping[str, Scores],
    data: SourceSpec,
    reading: Reading,
    sources: Sources,
    name: Name = plain_name,
    warn: Callable[[str], None] = warnings.warn,
) -> list[Path]:
    """Write each evaluator's scores, predictions and figures into the run folder; returns the figures.

    `name` names a result that differs from the run's own, which goes by the label alone.

    Files are whole or absent, and made anew where they exist. Only the first rank may call it. A figure that cannot
    be drawn is left out, with a `warn`. Another process that writes results there is waited for.

    Raises:
        StorageError: a file could not be written, or another process has been writing for more than `PATIENCE`.
    """
    drawn: list[Path] = []
    try:
        with owned(about.run_dir, lambda text: None, STORING, PATIENCE):
            for spec in evaluators.values():
                drawn += _stored(about, spec, results[spec.label], data, reading, sources, name, warn)
    except InUseError as error:
        raise StorageError(str(error)) from None
    return drawn


def _stored(
    about: About, spec: EvaluatorSpec, scores: Scores, data: SourceSpec, reading: Reading, sources: Sources,
    name: Name, warn: Callable[[str], None],
) -> Iterable[Path]:  # fmt: skip
    """Write the results of one evaluator; the figures."""
    folder = folder_of(about.run_dir, about.step)
    record = _record(about, reading, spec, scores, _data(spec, data, sources))
    variant = name(spec, record)
    stem = f"{spec.label}{variant.stem}"
    figures = dict(_draw(_figures(about, variant, folder) / stem, spec, scores, warn))
    bound: dict[str, str] = {} if about.run is None else {RUN: about.run}
    if scores.predictions is not None:
        content = packed(*(x.cpu().numpy() for x in scores.predictions))
        write_bytes(folder / f"{stem}.npz", content)
        bound["predictions_sha256"] = hashlib.sha256(content).hexdigest()
    places = {name: str(path.relative_to(about.run_dir)) for name, path in figures.items()}
    shown = {**record, "figures": places, "variant": variant.words}
    write_json(folder / f"{stem}.json", sealed({**shown, **bound}))
    return figures.values()


def _figures(about: About, variant: Variant, folder: Path) -> Path:
    """Where figures go: those of the run's newest evaluation where its others are, any other beside its results."""
    newest = about.step >= max(steps(about.run_dir), default=0)
    return folder if variant.words or not newest else about.run_dir / FIGURES


def _record(
    about: About, reading: Reading, spec: EvaluatorSpec, scores: Scores, data: Mapping[str, StoredSplit]
) -> StoredEvaluation:
    view = reading.loading.view
    return {
        "step": about.step,
        "readout": _recorded(reading.readout),
        "view": {"size": view.extent, "mean": list(view.mean), "std": list(view.std)},
        "weights_sha256": about.weights_sha256,
        "checkpoint": about.checkpoint,
        "unreadable": list(about.unreadable),
        "label": spec.label,
        "protocol": spec.build().protocol,
        "settings": spec.model_dump(mode="json"),
        "metrics": dict(scores.metrics),
        "better": directions(spec.reported_metrics(), scores.metrics),
        "intervals": _intervals(scores),
        "tables": dict(scores.tables),
        "data": data,
    }


def _draw(
    stem: Path, spec: EvaluatorSpec, scores: Scores, warn: Callable[[str], None]
) -> Iterator[tuple[str, Path]]:
    for name, draw in scores.figures.items():
        path = stem.with_name(f"{stem.name}-{name}.png")
        with optional(f"figure {path.name} of {component(spec)}", warn):
            draw_whole(path, draw)
            yield name, path


def _intervals(scores: Scores) -> dict[str, tuple[float, float]]:
    """Of the headline accuracy, over images like those that were scored."""
    if scores.predictions is None:
        return dict(scores.intervals)
    labels, guesses = scores.predictions
    interval = accuracy_interval((labels == guesses).cpu().numpy())
    return {next(iter(scores.metrics)): (interval.low, interval.high), **scores.intervals}


def _data(spec: EvaluatorSpec, data: SourceSpec, sources: Sources) -> dict[str, StoredSplit]:
    read = {split: sources.get(source_of(spec, data, split), split) for split in spec.build().needs}
    return {
        split: {"fingerprint": source.fingerprint, "images": len(source)} for split, source in read.items()
    }


def _recorded(readout: Readout) -> dict[str, object]:
    """Without a pyramid where there is none, as records of before there were any have it, which compare equal."""
    return readout.model_dump(mode="json", exclude=None if readout.pyramid else {"pyramid"})
