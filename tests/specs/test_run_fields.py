"""What editors complete in `Run(...)` are the fields of a run."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from sslkit import Run
from sslkit.specs.run import RunSpec
from sslkit.specs.run_fields import RunFields
from tests.tiny import fields

HINTS = get_type_hints(RunFields)


def choices(annotation: Any) -> set[object]:
    """The values of the `Literal`s in an annotation."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {value for part in get_args(annotation) for value in choices(part)}


def test_they_have_the_same_names_in_the_same_order() -> None:
    assert list(HINTS) == list(RunSpec.model_fields)


@pytest.mark.parametrize("name", ["device", "parallel", "augment_on", "precision"])
def test_they_have_the_same_choices(name: str) -> None:
    assert choices(HINTS[name]) == choices(RunSpec.model_fields[name].annotation) != set()


@pytest.mark.parametrize(
    "name", [name for name, info in RunSpec.model_fields.items() if info.default is None]
)
def test_what_may_be_none_may_be_none(name: str) -> None:
    assert type(None) in get_args(HINTS[name])


def test_the_constructor_takes_them() -> None:
    (parameter,) = (p for p in inspect.signature(Run).parameters.values() if p.name == "fields")
    assert parameter.kind is inspect.Parameter.VAR_KEYWORD
    assert parameter.annotation == "Unpack[RunFields]"
    assert Run(**fields()).spec.name == "tiny"


@pytest.mark.parametrize("name", ["views", "nets", "objectives", "evaluate"])
def test_parts_may_be_specs_or_their_fields(name: str) -> None:
    inside = get_args(HINTS[name])[-1]
    assert len(get_args(inside)) == 2
