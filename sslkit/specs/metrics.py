"""Declared metrics of evaluators: their names, and in which direction each is better. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

Better = Literal["higher", "lower"]
"""The direction in which a metric is better."""


class Metric(NamedTuple):
    """One metric that a kind of evaluator reports."""

    better: Better | None
    """None for a description, of which neither more nor less is better."""
    when: str = ""
    """When it is reported, where that is not always: `with five classes or more`."""


Metrics = Mapping[str, Metric]
"""Name -> what it is. `*` in a name stands for what only data tell, such as the name of an attribute."""

HIGHER, LOWER, NEITHER = Metric("higher"), Metric("lower"), Metric(None)
"""A metric of which more is better, of which less is better, and one that only describes."""


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
