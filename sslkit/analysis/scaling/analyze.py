"""Fits the scaling law that a question asks for to the runs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from sslkit.analysis.scaling.breaks import find_break
from sslkit.analysis.scaling.fit import FLOPS, RESAMPLES, Over, fit_joint, fit_power_law
from sslkit.analysis.scaling.fit_report import Names, Report
from sslkit.analysis.scaling.sigmoid import fit_sigmoid
from sslkit.analysis.scaling.sweep_results import Sweep
from sslkit.errors import SpecError

STILL = 1.1
"""Ratio up to which a quantity counts as the same in all runs."""


class Question(NamedTuple):
    """What to fit."""

    x: str = "parameters"
    """The quantity on the right: a column, or `parameters`, `images`, `tokens`, `flops` or `seconds` of runs."""
    y: str = "loss"
    """The metric on the left."""
    reading: Literal["value", "error"] = "value"
    """`error` fits 1 - y, for accuracies."""
    joint: bool = False
    """Fit the joint law of parameters and images; `x` is not read."""
    extrapolate: Sequence[float] = ()
    """x to predict, or FLOPs to spend best with `joint`."""
    emergence: bool = False
    """Also look for a break and a sigmoid."""
    over: Over = "residuals"
    resamples: int = RESAMPLES
    seed: int = 0


def analyze(sweep: Sweep, question: Question) -> Report:
    """Fit what `question` asks for to the runs of `sweep`.

    Raises:
        SpecError: a quantity is missing, or the data cannot support the fit.
    """
    y, name = _targets(sweep, question)
    _require_falling(sweep, question)
    return _joint(sweep, question, y, name) if question.joint else _single(sweep, question, y, name)


def _single(sweep: Sweep, question: Question, y: list[float], name: str) -> Report:
    x, names = sweep.column(question.x), (question.x, name)
    law = fit_power_law(
        x, y, resamples=question.resamples, over=question.over, seed=question.seed, names=names
    )
    report = Report(Names(*names), law, [law.predict(at) for at in question.extrapolate])
    if question.emergence:
        metric = sweep.column(question.y)
        report = report._replace(
            breaks=find_break(x, y, seed=question.seed, names=names),
            sigmoid=fit_sigmoid(x, metric, seed=question.seed, names=(question.x, question.y)),
        )
    return report._replace(notes=[*_read_notes(sweep, question.x), *_moving(sweep, question.x)])


def _joint(sweep: Sweep, question: Question, y: list[float], name: str) -> Report:
    if question.emergence:
        raise SpecError("--emergence: looks along one variable; give it without --joint, with --x")
    sizes, images = sweep.column("parameters"), sweep.column("images")
    cost, notes = _cost(sweep)
    law = fit_joint(
        sizes, images, y, cost=cost, resamples=question.resamples, over=question.over, seed=question.seed,
        names=("parameters", "images", name),
    )  # fmt: skip
    optima = [law.optimum(at) for at in question.extrapolate]
    return Report(
        Names("parameters, images", name), law, optima, notes=[*_read_notes(sweep, "flops"), *notes]
    )


def _targets(sweep: Sweep, question: Question) -> tuple[list[float], str]:
    """The values of y, and their name."""
    values, better = sweep.column(question.y), sweep.better(question.y)
    if question.reading == "value":
        return values, question.y
    if better == "lower":
        raise SpecError(
            f"--as error: fits 1 - {question.y}, but lower {question.y} is better already; leave --as out"
        )
    for row, value in zip(sweep.rows, values, strict=True):
        if not 0 <= value < 1:
            raise SpecError(
                f"{row.name}: {question.y} is {value:g}; "
                f"--as error takes shares from 0 to below 1 and fits 1 minus them"
            )
    return [1 - value for value in values], f"1 - {question.y}"


def _require_falling(sweep: Sweep, question: Question) -> None:
    """The laws are of what falls as runs grow."""
    if question.reading == "value" and sweep.better(question.y) == "higher":
        raise SpecError(
            f"--y {question.y}: higher is better, while the law is of what falls as runs grow. For a share from 0 to 1 "
            f"use --as error, which fits 1 - {question.y}; otherwise fit a metric of which lower is better"
        )


def _cost(sweep: Sweep) -> tuple[float, list[str]]:
    """FLOPs for each parameter and image: the geometric mean over runs."""
    if not sweep.has("flops"):
        return FLOPS, ["no run has FLOPs: compute is taken as 6 N D"]
    columns = (np.array(sweep.column(name)) for name in ("flops", "parameters", "images"))
    flops, sizes, images = columns
    if not (flops > 0).all():
        raise SpecError("flops: must be above 0 in every run")
    each = flops / (sizes * images)
    factor, notes = float(each.max() / each.min()), list[str]()
    if factor > 1.5:
        notes.append(
            f"FLOPs for each parameter and image differ by a factor of {factor:.3g} between runs; "
            f"the best split takes their geometric mean"
        )
    return float(np.exp(np.log(each).mean())), notes


def _read_notes(sweep: Sweep, x: str) -> list[str]:
    """What was assumed in reading the runs, as far as it bears on `x`."""
    return [note for note in sweep.notes if x == "flops" or ("FLOPs" not in note and "flops" not in note)]


def _moving(sweep: Sweep, x: str) -> list[str]:
    """Notes on another quantity that changes from run to run in a law of one variable."""
    others = {"parameters": "images", "images": "parameters"}
    if x not in others or not sweep.has(others[x]):
        return []
    values = sweep.column(others[x])
    if min(values) <= 0 or max(values) / min(values) <= STILL:
        return []
    return [
        f"{others[x]} change too, from {min(values):.4g} to {max(values):.4g}; the exponent of {x} mixes both effects. "
        f"--joint tells them apart"
    ]
