"""Stored evaluation results: `evaluations/step-00000100/LABEL.json`, and `.npz` for predictions."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import CheckpointError
from sslkit.runs.file_shapes import EVALUATION_FILE
from sslkit.runs.lock import LOCK, read_lock
from sslkit.runs.seal import RUN, read_sealed
from sslkit.runtime.array_file import arrays_in
from sslkit.runtime.atomic_files import storing
from sslkit.runtime.readable import listed, present, reading
from sslkit.specs.metrics import Better
from sslkit.specs.run_metrics import directions_of_settings

EVALUATIONS = "evaluations"
"""Folder inside a run's."""

NAMING = ("name", "every", "train", "test", "baselines")
"""Fields of an evaluator that change no number; its data is known by the fingerprint."""

AGAIN = "run `sslkit evaluate` again"
"""What to do about damaged results."""

Integers = NDArray[np.int64]


class Variant(NamedTuple):
    """How an evaluation differs from the run's own of that label; all of it empty for the run's own."""

    words: str = ""
    """For people, such as `on photos`."""
    stem: str = ""
    """What stands behind the label in the name of its files."""


class StoredSplit(TypedDict, total=False):
    """The images of one split that were read."""

    fingerprint: str
    images: int


class StoredEvaluation(TypedDict):
    """An evaluation as its file holds it; figures and variant are added last."""

    step: int
    readout: Mapping[str, object]
    view: Mapping[str, object]
    weights_sha256: str
    checkpoint: str | None
    unreadable: list[str]
    label: str
    protocol: str
    settings: Mapping[str, object]
    metrics: Mapping[str, float]
    better: Mapping[str, Better | None]
    intervals: Mapping[str, tuple[float, float]]
    tables: Mapping[str, object]
    data: Mapping[str, StoredSplit]


class StoredPredictions(NamedTuple):
    """The class and the predicted class of each scored image, in the order of the source."""

    labels: Integers
    """`[N]`."""
    guesses: Integers
    """`[N]`."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """`[N]`."""
        right: NDArray[np.bool_] = self.labels == self.guesses
        return right


class Evaluation(NamedTuple):
    """One protocol's results on one network."""

    label: str
    step: int
    protocol: str
    """Name and version, as in `knn@1`."""
    settings: Mapping[str, object]
    """Every field of the evaluator's spec."""
    metrics: Mapping[str, float]
    """The first is the headline."""
    intervals: Mapping[str, tuple[float, float]]
    """Of those metrics that predictions give one for."""
    tables: Mapping[str, Any]
    figures: Mapping[str, str]
    """Name -> file, relative to the run folder."""
    data: Mapping[str, StoredSplit]
    """By split."""
    readout: Mapping[str, object]
    view: Mapping[str, object]
    """Size, mean and deviation of the images."""
    weights_sha256: str
    """Of the network that was read."""
    checkpoint: str | None
    unreadable: tuple[str, ...]
    """Images that were left out, with the reason."""
    path: Path
    """The file."""
    better: Mapping[str, Better | None] = {}
    """Metric -> the direction in which it is better; None where neither is, or where it is not known."""
    variant: str = ""
    """How it differs from the run's own evaluation of that label, such as `on photos`; empty for the run's own."""
    run: str | None = None
    """The id of the run that it is of; None of other networks and of earlier versions."""
    predictions_sha256: str | None = None
    """Of the file of predictions; None of earlier versions."""

    @property
    def title(self) -> str:
        """The label, and in what this is not the run's own."""
        return f"{self.label} {self.variant}".rstrip()

    @property
    def headline(self) -> str:
        """The name of the first metric."""
        return next(iter(self.metrics))

    @property
    def headline_better(self) -> Better | None:
        """The direction in which the headline is better; None where that is not known."""
        return self.better.get(self.headline)

    def predictions(self) -> StoredPredictions | None:
        """Those behind the headline accuracy, where the protocol makes any.

        Raises:
            CheckpointError: their file is damaged.
        """
        path = self.path.with_suffix(".npz")
        try:
            with reading(path):
                content = path.read_bytes()
        except FileNotFoundError:
            return None
        if self.predictions_sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise CheckpointError(f"{path}: is damaged (its checksum is another); {AGAIN}")
        labels, guesses = arrays_in(content, str(path), {"labels": "i1", "guesses": "i1"}, AGAIN)
        if len(labels) != len(guesses):
            lengths = f"{len(labels):,} labels and {len(guesses):,} guesses"
            raise CheckpointError(f"{path}: is damaged ({lengths}); {AGAIN}")
        return StoredPredictions(labels.astype(np.int64), guesses.astype(np.int64))


def folder_of(run_dir: Path, step: int) -> Path:
    """Where the evaluations of `step` lie."""
    return run_dir / EVALUATIONS / f"step-{step:08d}"


def packed(labels: Integers, guesses: Integers) -> bytes:
    """The `.npz` of predictions."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, labels=labels.astype(np.int32), guesses=guesses.astype(np.int32))
    return buffer.getvalue()


def steps(run_dir: Path) -> list[int]:
    """The steps with evaluations, in order. Raises StorageError where they cannot be listed."""
    matches = (re.fullmatch(r"step-(\d+)", path.name) for path in listed(run_dir / EVALUATIONS))
    return sorted(int(match[1]) for match in matches if match)


def evaluations(run_dir: Path, step: int | None = None) -> dict[str, Evaluation]:
    """Label -> results, at `step`, or by default each at the last step that has them.

    Those that are not the run's own, but of other data and the like, are there too, by the names of their files.

    Raises:
        CheckpointError: there are none, none of that step, or a file is damaged.
    """
    available = steps(run_dir)
    if not available:
        raise CheckpointError(f"{run_dir}: holds no evaluations; make them with `sslkit evaluate {run_dir}`")
    if step is not None and step not in available:
        raise CheckpointError(
            f"{run_dir}: no evaluation of step {step}. Known: {', '.join(map(str, available))}"
        )
    selected = available if step is None else [step]
    results = {path.stem: read_evaluation(path) for s in selected for path in _files(run_dir, s)}
    require_of_run(run_dir, results.values())
    return results


def require_of_run(run_dir: Path, results: Iterable[Evaluation]) -> None:
    """Pass where `results` are of the run in `run_dir`, or of no run.

    Raises:
        CheckpointError: one is of another run.
    """
    if not present(run_dir / LOCK):
        return
    run = read_lock(run_dir).get(RUN)
    wrong = [str(result.path) for result in results if result.run not in (None, run)]
    if wrong:
        raise CheckpointError(
            f"{run_dir}: holds results of another run, to be moved away: {', '.join(wrong)}"
        )


def remove_results(run_dir: Path) -> None:
    """Remove the results of a run that began in `run_dir` and never saved. Raises StorageError."""
    for path in (path for step in steps(run_dir) for path in _files(run_dir, step)):
        with contextlib.suppress(CheckpointError):
            if read_evaluation(path).run is not None:
                with storing(path):
                    path.unlink()


def _files(run_dir: Path, step: int) -> list[Path]:
    return [path for path in listed(folder_of(run_dir, step)) if path.suffix == ".json"]


def read_evaluation(path: Path) -> Evaluation:
    """The results in one file. Raises CheckpointError where it is damaged, StorageError where it cannot be read."""
    record = read_sealed(path, EVALUATION_FILE, f"; {AGAIN}")
    if "better" not in record:  # of before directions were declared
        record["better"] = directions_of_settings(record["settings"], record["metrics"])
    fields = {name: record[name] for name in Evaluation._fields if name in record}
    return Evaluation(**{**fields, "unreadable": tuple(record["unreadable"]), "path": path})
