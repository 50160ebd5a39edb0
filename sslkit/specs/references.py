"""References: fields that name a view or a net of the run, which `check` looks up for every spec. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Literal, final, get_args, get_origin

from sslkit.core.problem import Problem
from sslkit.specs.base import Spec
from sslkit.specs.error_location import annotation_of
from sslkit.specs.error_text import suggest

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec

STUDENT = "student"
"""The trained network, which every run has."""


@final
@dataclass(frozen=True)
class Reference:
    """Marks text in the annotation of a field as the name of something in the run: `Annotated[str, Reference("view")]`.

    A run without it is refused, before the spec's own `problems` are asked for.
    """

    to: Literal["view", "net", "average", "trained"]
    """A view, any net, a net that is a moving average of a trained one, or one that is trained."""
    student: bool = False
    """Whether networks that are trained will do: `student`, and the names under `towers`."""
    settings: str = "{}"
    """What to write under `nets` for a net that is missing."""


ViewName = Annotated[str, Reference("view")]
"""The name of a view."""
NetName = Annotated[str, Reference("net", student=True)]
"""`student`, a name under `towers`, or one under `nets`: a moving average of them or a frozen network."""
AverageName = Annotated[str, Reference("average", settings="{momentum: {start: 0.996, end: 1.0}}")]
"""A name under `nets`, of a moving average of the student or of a tower."""
CopyName = Annotated[str, Reference("net", settings="{refresh: never}")]
"""A name under `nets`, of a copy of the student's first weights (`refresh`), or of any other net but the student."""
CopiedName = Annotated[str, Reference("average", student=True)]
"""`student`, a name under `towers`, or the name of a moving average of them."""
TrainedName = Annotated[str, Reference("trained", student=True)]
"""`student`, or a name under `towers`."""


@cache
def references(cls: type[Spec]) -> Mapping[str, Reference]:
    """The fields of `cls` that are references, or that hold some: `ViewName | None`, `tuple[ViewName, ...]`."""
    marks = {name: _mark(annotation_of(info)) for name, info in cls.model_fields.items()}
    return {name: mark for name, mark in marks.items() if mark is not None}


def named(spec: Spec, to: Literal["view", "net", "average", "trained"]) -> frozenset[str]:
    """What the fields of `spec` name of that sort."""
    fields = (name for name, mark in references(type(spec)).items() if mark.to == to)
    return frozenset(text for name in fields for _, text in _texts(getattr(spec, name), name))


def dangling(spec: Spec, run: RunSpec) -> Iterator[Problem]:
    """The references of `spec` to what `run` does not have."""
    for field, mark in references(type(spec)).items():
        for path, name in _texts(getattr(spec, field), field):
            message = _missing_view(name, run) if mark.to == "view" else _missing_net(name, mark, run)
            optional = NoneType in get_args(type(spec).model_fields[field].annotation)
            if message:
                advice = f" Or set `{field}` to null." if optional else ""
                yield Problem(path, message + advice)


def _mark(annotation: object) -> Reference | None:
    """The reference in `annotation`; the outermost, so that a field can set its own `settings`."""
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        for mark in reversed(inner[1:]):
            if isinstance(mark, Reference):
                return mark
        return _mark(inner[0])
    return next((mark for part in inner if (mark := _mark(part)) is not None), None)


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """(path, text) of each text in the value of a field."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, tuple | list):
        for i, part in enumerate(value):
            yield from _texts(part, f"{path}.{i}")


def _missing_view(name: str, run: RunSpec) -> str:
    """What to say of the view `name`; empty where it is there."""
    return "" if name in run.views else f"{name!r} is not a view of this run. {suggest(name, run.views)}"


def _missing_net(name: str, mark: Reference, run: RunSpec) -> str:
    """What to say of the net `name`; empty where it is there and will do."""
    average = mark.to == "average"
    nets = [net for net, spec in run.nets.items() if not average or spec.is_average]
    if mark.to == "trained":
        nets = []
    candidates = [*run.trained, *nets] if mark.student else nets
    if name in candidates:
        return ""
    if mark.to == "trained":
        return f"{name!r} is not a network that this run trains. {suggest(name, candidates)}"
    if name in run.nets:
        field = "backbone" if run.nets[name].backbone is not None else "refresh"
        return f"{name!r} is a frozen network, not a moving average of this run; leave out `nets.{name}.{field}`."
    hint = suggest(name, candidates) if candidates else ""
    message = f"{name!r} is not a {'moving average' if average else 'net'} of this run. {hint}".rstrip()
    if hint.startswith("Did you mean") or (name == STUDENT and candidates):
        return message
    return f"{message} {_addition('teacher' if name == STUDENT else name, mark)}"


def _addition(name: str, mark: Reference) -> str:
    """How a run gets the net `name`."""
    add = f"Add it: `nets: {{{name}: {mark.settings}}}`"
    if mark.to == "average":
        return f"{add}."
    kind = "a moving average" if mark.settings == "{}" else "a copy of the first weights"
    beside = f" Or `towers: {{{name}: ...}}`, trained beside `backbone`." if mark.student else ""
    return f"{add}, {kind}, or with `{{{name}: {{backbone: ...}}}}` a frozen network.{beside}"
