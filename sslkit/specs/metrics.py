"""Declared metrics of evaluators: their names, and in which direction each is better. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, NamedTuple

from sslkit import catalog
from sslkit.errors import SslkitError

if TYPE_CHECKING:
    from sslkit.specs.families import EvaluatorSpec

Better = Literal["higher", "lower"]
"""The direction in which a metric is better."""

PREFIX = "eval"
"""First part of the names of metrics in records and in `checkpoint.best`: `eval/LABEL/METRIC`."""
OF_TRAINING = ("loss", "lr", "epoch", "step", "gradient_norm", "images_per_s", "balance")
"""What records of training hold; names of terms follow after a slash."""


class Metric(NamedTuple):
    """One metric that a kind of evaluator reports."""

    better: Better | None
    """None for a description, of which neither more nor less is better."""
    when: str = ""
    """When it is reported, where that is not always: `with five classes or more`."""


Metrics = Mapping[str, Metric]
"""Name -> what it is. `*` in a name stands for what only data tell, such as the name of an attribute."""

HIGHER, LOWER, NEITHER = Metric("higher"), Metric("lower"), Metric(None)


def metric_of(declared: Metrics, name: str) -> Metric | None:
    """What `declared` says of the metric `name`, by its name or by the first pattern that fits; None for nothing."""
    if name in declared:
        return declared[name]
    return next((metric for pattern, metric in declared.items() if fnmatchcase(name, pattern)), None)


def directions(declared: Metrics, reported: Iterable[str]) -> dict[str, Better | None]:
    """The direction of each of the `reported` metrics, in order.

    A kind that declares nothing: higher is better for its first metric, the headline; of all others it is not known.
    """
    names = list(reported)
    if not declared:
        return {name: "higher" if place == 0 else None for place, name in enumerate(names)}
    metrics = {name: metric_of(declared, name) for name in names}
    return {name: None if metric is None else metric.better for name, metric in metrics.items()}


def directions_of_settings(
    settings: Mapping[str, object], reported: Iterable[str]
) -> dict[str, Better | None]:
    """As `directions`, for an evaluator of which only the fields are there, as results keep them.

    Of a kind that no plugin offers any more, or of other fields, nothing is known.
    """
    names = list(reported)
    try:
        cls = catalog.kinds("evaluator")[str(settings.get("kind"))]
        spec: EvaluatorSpec = cls(**settings)
    except (SslkitError, KeyError, TypeError):
        return dict.fromkeys(names)
    return directions(spec.reported_metrics(), names)


def mismatches(declared: Metrics, reported: Iterable[str]) -> Iterator[str]:
    """In what the `reported` metrics are not the `declared` ones, in sentences without a subject."""
    names = list(reported)
    if not declared:
        yield "declares no metrics; give them, with their directions, in `reported_metrics`"
        return
    for name in names:
        if metric_of(declared, name) is None:
            yield f"reports {name!r}, which `reported_metrics` does not declare"
    for pattern, metric in declared.items():
        if not metric.when and not any(fnmatchcase(name, pattern) or name == pattern for name in names):
            yield f"declares {pattern!r}, which it does not report; say `when` it does, or leave it out"
    if names and (first := metric_of(declared, names[0])) is not None and first.when:
        yield f"has {names[0]!r} as its first metric, the headline, which must be reported always"


def refusal(name: str, evaluators: Sequence[EvaluatorSpec]) -> str | None:
    """Why no checkpoint can be the best by the metric `name` in a run with `evaluators`; None where one can."""
    from sslkit.specs.error_text import suggest

    if not evaluators:
        return "nothing is evaluated in this run, so no checkpoint can be the best; add `evaluate`, or leave this out"
    usable = [
        f"{PREFIX}/{spec.label}/{metric}".replace("*", "NAME")
        for spec in evaluators
        for metric, about in spec.reported_metrics().items()
        if about.better is not None
    ]
    first, _, rest = name.partition("/")
    label, _, metric = rest.partition("/")
    spec = next((e for e in evaluators if e.label == label), None)
    if first in OF_TRAINING:
        return (
            f"{name!r} is a value of training: one augmented batch, which by chance is easy or hard, and which says "
            f"nothing of held-out images. Name a metric of an evaluation. {suggest(name, usable)}"
        )
    if first != PREFIX or spec is None or not metric:
        return (
            f"{name!r} is no metric of this run's evaluations, `eval/LABEL/METRIC`. {suggest(name, usable)}"
        )
    return _refused(name, metric, spec, usable)


def _refused(name: str, metric: str, spec: EvaluatorSpec, usable: Sequence[str]) -> str | None:
    """`refusal` of a metric of the evaluator `spec`."""
    from sslkit.specs.error_text import suggest

    declared = spec.reported_metrics()
    if not declared:
        return (
            f"{spec.kind_name()!r} does not declare its metrics, so it is not known whether more or less of "
            f"{metric!r} is better; its author can say so in `reported_metrics`. Leave this out: then its first "
            "metric counts, and higher is better"
        )
    about = metric_of(declared, metric)
    if about is None:
        return f"{spec.label!r} reports no metric {metric!r}. {suggest(name, usable)}"
    if about.better is None:
        return (
            f"{metric!r} is a description, of which neither more nor less is better. {suggest(name, usable)}"
        )
    return None
