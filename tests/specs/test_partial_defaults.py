"""Fields whose defaults are completed by an owner's."""

from __future__ import annotations

from typing import Annotated, final

import pytest

from sslkit.errors import SpecError
from sslkit.specs.base import Spec
from sslkit.specs.partial_defaults import completed_by
from sslkit.specs.schema import component_schema


@final
class Head(Spec):
    """A part."""

    layers: int = 3
    out: int = 128
    bias: bool = False


OWN = Head(layers=2, bias=True)


@final
class Method(Spec):
    """An owner with defaults of its own for the part."""

    head: Annotated[Head, completed_by(OWN)] = OWN
    other: Annotated[Head, completed_by(OWN)] | None = OWN


def test_the_default_is_the_owners():
    assert Method().head == Method().other == OWN


@pytest.mark.parametrize("given", [{"out": 7}, Head(out=7)], ids=["mapping", "instance"])
def test_what_is_left_out_is_as_in_the_owners(given):
    method = Method(head=given, other=given)
    assert method.head == method.other == Head(layers=2, out=7, bias=True)


def test_what_is_given_wins_even_where_it_is_the_classs_default():
    assert Method(head={"layers": 3, "bias": False}).head == Head()
    assert Method(head=Head(layers=3, bias=False)).head == Head()
    assert Method(head={}).head == OWN


def test_null_is_none():
    assert Method(other=None).other is None


def test_yaml_and_python_stay_the_same():
    method = Method(head=Head(out=7))
    again = Method.model_validate(method.model_dump(exclude_unset=True))
    assert again == method
    assert Method.model_validate(method.model_dump()) == method
    assert hash(again) == hash(method)


def test_the_owners_default_is_not_changed():
    Method(head={"out": 7})
    assert Head(layers=2, bias=True) == OWN


@pytest.mark.parametrize(
    ("given", "message"),
    [({"outs": 1}, r"head\.outs"), ({"out": "x"}, r"head\.out"), (5, r"head")],
    ids=["unknown", "type", "kind"],
)
def test_errors_name_the_field(given, message):
    with pytest.raises(SpecError, match=message):
        Method(head=given)


def test_the_schema_is_that_of_the_class():
    schema = component_schema("objective", "byol")
    assert schema["properties"]["projector"]["$ref"] == "#/$defs/Projection"
    assert {"layers", "hidden", "out"} <= schema["$defs"]["Projection"]["properties"].keys()
