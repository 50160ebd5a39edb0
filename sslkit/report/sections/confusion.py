"""Confusion matrices from stored predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import SslkitError
from sslkit.report.page.html import Child, Html, folded, join, note, table, tag
from sslkit.report.run_data import RunData
from sslkit.runs.evaluations import Evaluation, StoredPredictions
from sslkit.runs.lock import trained_spec
from sslkit.specs.run import RunSpec

MOST = 30
"""Classes of a matrix; of more only pairs are shown."""
BESIDE = 12
"""Classes of a matrix that leaves room for the pairs beside it."""
PAIRS = 10

Counts = NDArray[np.int64]


def confusion(run: RunData) -> Html | None:
    """The matrix of the first evaluation that keeps predictions, the others folded; None without any."""
    kept = [(e, p) for e in run.evaluations.values() if (p := e.predictions()) is not None and len(p.labels)]
    if not kept:
        return None
    spec = _spec(run)
    first, *others = ((e.title, _one(e, p, class_names(spec, e, p))) for e, p in kept)
    return Html(join([first[1], *(folded(f"Confusion of {label}", shown) for label, shown in others)]))


def _spec(run: RunData) -> RunSpec | None:
    try:
        return trained_spec(run.run_dir)
    except SslkitError:  # a plugin that is not here: classes go by their numbers
        return None


def class_names(spec: RunSpec | None, evaluation: Evaluation, predictions: StoredPredictions) -> list[str]:
    """Of every class that occurs: from the images, where they are those that were scored; otherwise numbers."""
    count = int(max(predictions.labels.max(), predictions.guesses.max())) + 1
    names = _of_source(spec, evaluation) if spec is not None else ()
    return list(names) if len(names) >= count else [str(i) for i in range(count)]


def _of_source(spec: RunSpec, evaluation: Evaluation) -> Sequence[str]:
    evaluator = next((e for e in spec.evaluate if e.label == evaluation.label), None)
    data = spec.data if evaluator is None else evaluator.test or evaluator.train or spec.data
    try:
        source = data.build("test")
    except SslkitError:
        return ()
    scored = evaluation.data.get("test", {}).get("fingerprint")
    return source.classes if source is not None and source.fingerprint == scored else ()


def counts(predictions: StoredPredictions, classes: int) -> Counts:
    """`[truth, guess]` images."""
    flat = predictions.labels * classes + predictions.guesses
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def _one(evaluation: Evaluation, predictions: StoredPredictions, names: Sequence[str]) -> Html:
    matrix = counts(predictions, len(names))
    pairs = list(_pairs(matrix, names))
    shown = [_matrix(evaluation, matrix, names)] if len(names) <= MOST else []
    if pairs:
        shown.append(
            table(
                f"Most confused by {evaluation.title}",
                ["Truth", "Taken for", "Images", "Of the class"],
                pairs,
                (0, 1),
            )
        )
    wrong = int(matrix.sum() - np.trace(matrix))
    summary = note(f"{evaluation.title}: {wrong:,} of {matrix.sum():,} images are taken for another class.")
    return Html(tag("div", shown, class_="beside" if len(names) <= BESIDE else None) + summary)


def _matrix(evaluation: Evaluation, matrix: Counts, names: Sequence[str]) -> Html:
    """Rows are truths, shaded by share of the row."""
    rows = ([name, *_cells(row, i)] for i, (name, row) in enumerate(zip(names, matrix, strict=True)))
    headings = (
        tag("span", name) for name in names
    )  # upright, so that columns are as narrow as their numbers
    grid = table(
        f"Confusion matrix of {evaluation.title}: rows are the truth, columns the guess",
        ["", *headings],
        rows,
    )
    return tag("div", grid, class_="matrix" if len(names) <= BESIDE else "matrix large")


def _cells(row: Counts, truth: int) -> Iterator[Child]:
    """The count, in a shade: of the right class and of wrong ones."""
    total = max(1, int(row.sum()))
    for guess, count in enumerate(row.tolist()):
        share = count / total
        kind = "right" if guess == truth else "wrong"
        yield tag("span", count or "·", class_=kind if count else "none", style=f"--share:{share:.3f}")


def _pairs(matrix: Counts, names: Sequence[str]) -> Iterator[list[Child]]:
    """The most frequent mistakes."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    for place in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS].tolist():
        truth, guess = divmod(place, len(names))
        if not wrong[truth, guess]:
            return
        share = wrong[truth, guess] / matrix[truth].sum()
        yield [names[truth], names[guess], f"{wrong[truth, guess]:,}", f"{100 * share:.1f} %"]
