"""What the kit has for kinds that read neither images nor symbols: the registered ones that fit them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sslkit import catalog
from sslkit.specs.base import Spec
from sslkit.specs.families import BackboneSpec, TransformSpec
from sslkit.testing.tiny_stream import STREAMS


class Reading(NamedTuple):
    """How a type of views comes to be: what of a sample is read, and what makes crops of it."""

    stream: str
    transform: TransformSpec


def reading_of(takes: str) -> Reading | None:
    """What makes views of the type `takes` of the kit's streams; None where no registered transform does."""
    types = {stream.type: name for name, stream in STREAMS.items()}
    for transform in _examples("transform"):
        if isinstance(transform, TransformSpec) and transform.gives == takes and transform.takes in types:
            return Reading(types[transform.takes], transform)
    return None


def reader_of(axes: int) -> BackboneSpec | None:
    """A registered network whose views have so many axes and come of a transform, or None."""
    for network in _examples("backbone"):
        if not isinstance(network, BackboneSpec):
            continue
        reading = reading_of(network.takes)
        if reading is not None and reading.transform.axes == axes:
            return network
    return None


def network_of(stream: str) -> BackboneSpec | None:
    """A registered network for what some transform makes of streams of the type `stream`, or None."""
    for network in _examples("backbone"):
        if not isinstance(network, BackboneSpec):
            continue
        reading = reading_of(network.takes)
        if reading is not None and reading.transform.takes == stream:
            return network
    return None


def taker_of(takes: str) -> BackboneSpec | None:
    """A registered network that reads views of the type `takes`, or None."""
    return next((n for n in _examples("backbone") if isinstance(n, BackboneSpec) and n.takes == takes), None)


def _examples(family: str) -> Iterator[Spec]:
    """Of every registered kind that has one."""
    for _, cls in sorted(catalog.kinds(family).items()):
        spec = cls.example() if issubclass(cls, Spec) else None
        if spec is not None:
            yield spec
