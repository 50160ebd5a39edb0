"""Report of a scaling fit: sentences, tables, and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sslkit.analysis.scaling.breaks import Break
from sslkit.analysis.scaling.laws import JointLaw, Optimum, PowerLaw, Prediction
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
    law, runs = report.law, f"{len(report.law.y)} runs"
    if isinstance(law, JointLaw):
        return f"{report.names.y} = E + A / N^alpha + B / D^beta, N parameters, D images seen, {runs}"
    span = f"{law.x.min():.4g} to {law.x.max():.4g}"
    return f"{report.names.y} = E + A x^-alpha, x = {report.names.x} from {span}, {runs}"


def parameters(law: PowerLaw | JointLaw) -> Iterator[tuple[str, str, str]]:
    """Name, value and interval of every parameter."""
    if isinstance(law, JointLaw):
        named = {"alpha": law.alpha, "beta": law.beta, "A": law.parameters_coefficient}
        named |= {"B": law.images_coefficient, "E": law.offset, "split a": law.split}
    else:
        named = {"alpha": law.exponent, "A": law.coefficient, "E": law.offset}
    for name, value in named.items():
        yield name, f"{value.value:.4g}", f"{value.low:.4g} to {value.high:.4g}"


def facts(report: Report) -> Iterator[str]:
    """How well the law fits, in sentences."""
    law, support = report.law, report.law.support
    yield f"R² of log y {law.r2:.4f}; noise {law.noise:.2%} of y"
    lead = support.no_offset - support.law
    offset = "the data ask for the offset" if support.offset else "a law without the offset fits as well"
    yield f"{offset} (AIC {lead:+.1f} without it, {support.constant - support.law:+.1f} for a constant)"
    if isinstance(law, JointLaw):
        a = law.split.value
        yield f"compute C = {law.cost:.4g} N D; at its best N grows as C^{a:.3f} and D as C^{1 - a:.3f}"
    if report.breaks is not None:
        yield report.breaks.verdict
    if report.sigmoid is not None:
        yield report.sigmoid.verdict


def columns(report: Report) -> list[str]:
    """Headings of the table of predictions."""
    if isinstance(report.law, JointLaw):
        return ["compute", "best parameters", "best images", report.names.y]
    return [report.names.x, report.names.y]


def predicted(report: Report) -> Iterator[list[str]]:
    """Rows of the table of predictions."""
    for one in report.predictions:
        if isinstance(one, Optimum):
            yield [f"{one.compute:.4g}", str(one.parameters), str(one.images), str(one.value)]
        else:
            yield [f"{one.at[0]:.4g}", str(one.value)]


def warnings(report: Report) -> Iterator[str]:
    """What the reader must know before believing a number."""
    yield from report.notes
    for one in report.predictions:
        if one.warning is not None:
            at = one.compute if isinstance(one, Optimum) else one.at[0]
            yield f"{at:.4g} is {one.warning}"


def as_json(report: Report) -> dict[str, object]:
    """The report in values that JSON can hold."""
    law = report.law
    kind = "joint" if isinstance(law, JointLaw) else "power_law"
    record: dict[str, object] = {"law": kind, "x": report.names.x, "y": report.names.y, "runs": len(law.y)}
    if isinstance(law, JointLaw):
        record |= {
            "alpha": law.alpha._asdict(),
            "beta": law.beta._asdict(),
            "parameters_coefficient": law.parameters_coefficient._asdict(),
            "images_coefficient": law.images_coefficient._asdict(),
            "offset": law.offset._asdict(),
            "split": law.split._asdict(),
            "flops_per_parameter_and_image": law.cost,
        }
    else:
        estimates = {"exponent": law.exponent, "coefficient": law.coefficient, "offset": law.offset}
        record |= {name: value._asdict() for name, value in estimates.items()}
    record |= {"r2": law.r2, "noise": law.noise, "aic": law.support._asdict()}
    record["extrapolation"] = [_prediction(one) for one in report.predictions]
    if report.breaks is not None:
        record["break"] = report.breaks._asdict() | {"found": report.breaks.found}
    if report.sigmoid is not None:
        fit = report.sigmoid
        record["sigmoid"] = fit._asdict() | {"midpoint": fit.midpoint._asdict(), "found": fit.found}
    return record | {"warnings": list(warnings(report))}


def _prediction(one: Prediction | Optimum) -> dict[str, object]:
    estimates = {"parameters": one.parameters, "images": one.images} if isinstance(one, Optimum) else {}
    estimates["y"] = one.value
    return {
        "at": one.compute if isinstance(one, Optimum) else one.at[0],
        **{name: value._asdict() for name, value in estimates.items()},
        "beyond": one.beyond,
    }
