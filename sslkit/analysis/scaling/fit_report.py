"""Report of a scaling fit: sentences, tables, and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sslkit.analysis.scaling.breaks import Break
from sslkit.analysis.scaling.estimates import Estimate, Optimum, Prediction
from sslkit.analysis.scaling.laws import JointLaw, PowerLaw
from sslkit.analysis.scaling.sigmoid import Sigmoid


class Names(NamedTuple):
    """Names of the quantities."""

    x: str
    y: str


class Report(NamedTuple):
    """The results of one call of `sslkit scaling`."""

    names: Names
    law: PowerLaw | JointLaw
    predictions: Sequence[Prediction | Optimum] = ()
    breaks: Break | None = None
    sigmoid: Sigmoid | None = None
    notes: Sequence[str] = ()


def title(report: Report) -> str:
    """The law as a formula, and what it was fitted to."""
    return f"{report.law.title(*report.names)}, {len(report.law.y)} runs"


def parameters(law: PowerLaw | JointLaw) -> Iterator[tuple[str, str, str]]:
    """Sign, value and interval of every parameter."""
    for name, value in law.estimates.items():
        yield law.fields[name], f"{value.value:.4g}", f"{value.low:.4g} to {value.high:.4g}"


def facts(report: Report) -> Iterator[str]:
    """How well the law fits, in sentences."""
    law, support = report.law, report.law.support
    yield f"R² of log y {law.r2:.4f}; noise {law.noise:.2%} of y"
    lead = support.no_offset - support.law
    offset = "the data ask for the offset" if support.offset else "a law without the offset fits as well"
    yield f"{offset} (AIC {lead:+.1f} without it, {support.constant - support.law:+.1f} for a constant)"
    yield from law.facts()
    if report.breaks is not None:
        yield report.breaks.verdict
    if report.sigmoid is not None:
        yield report.sigmoid.verdict


def columns(report: Report) -> list[str]:
    """Headings of the table of predictions."""
    return report.law.columns(*report.names)


def predicted(report: Report) -> Iterator[list[str]]:
    """Rows of the table of predictions."""
    for one in report.predictions:
        yield [f"{one.place:.4g}", *map(str, one.estimates.values())]


def warnings(report: Report) -> Iterator[str]:
    """What the reader must know before believing a number."""
    yield from report.notes
    for one in report.predictions:
        if one.warning is not None:
            yield f"{one.place:.4g} is {one.warning}"


def as_json(report: Report) -> dict[str, object]:
    """The report in values that JSON can hold."""
    law = report.law
    record: dict[str, object] = {
        "law": law.kind,
        "x": report.names.x,
        "y": report.names.y,
        "runs": len(law.y),
        **_records(law.estimates),
        **law.constants(),
        "r2": law.r2,
        "noise": law.noise,
        "aic": law.support._asdict(),
        "extrapolation": [_prediction(one) for one in report.predictions],
    }
    if report.breaks is not None:
        record["break"] = report.breaks._asdict() | {"found": report.breaks.found}
    if report.sigmoid is not None:
        fit = report.sigmoid
        record["sigmoid"] = fit._asdict() | {"midpoint": fit.midpoint._asdict(), "found": fit.found}
    return record | {"warnings": list(warnings(report))}


def _prediction(one: Prediction | Optimum) -> dict[str, object]:
    return {"at": one.place, **_records(one.estimates), "beyond": one.beyond}


def _records(estimates: Mapping[str, Estimate]) -> dict[str, object]:
    return {name: value._asdict() for name, value in estimates.items()}
