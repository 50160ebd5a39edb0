"""Metrics of a run's evaluations by their full names: their directions, and which can choose the best checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sslkit import catalog
from sslkit.errors import SslkitError
from sslkit.specs.error_text import suggest
from sslkit.specs.families import EvaluatorSpec
from sslkit.specs.metrics import Better, directions, metric_of

PREFIX = "eval"
"""First part of the names of metrics in records and in `checkpoint.best`: `eval/LABEL/METRIC`."""
OF_TRAINING = ("loss", "lr", "epoch", "step", "gradient_norm", "images_per_s", "balance")
"""What records of training hold; names of terms follow after a slash."""


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


def refusal(name: str, evaluators: Sequence[EvaluatorSpec]) -> str | None:
    """Why no checkpoint can be the best by the metric `name` in a run with `evaluators`; None where one can."""
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
