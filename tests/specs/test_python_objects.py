"""Objects of Python in specs."""

from __future__ import annotations

import gc
from typing import Annotated, Any, Literal

import pytest
import yaml

from sslkit.errors import SpecError
from sslkit.specs.base import Spec
from sslkit.specs.from_python import with_holders
from sslkit.specs.python_objects import Held, holding, missing_objects, objects_in


class Thing:
    """Something that no file holds."""

    def __init__(self, name: str) -> None:
        self.name = name


def told(value: object) -> dict[str, str | int]:
    if not isinstance(value, Thing):
        raise SpecError(f"a {type(value).__name__} is no thing")
    return {"python": "Thing", "size": len(value.name), "digest": value.name}


class Holder(Spec):
    """Has an object, and may have another."""

    kind: Literal["holder"] = "holder"
    thing: Annotated[Held, holding(told)]
    other: Annotated[Held, holding(told)] | None = None


class Outer(Spec):
    """Has holders at several depths."""

    inner: Holder
    many: tuple[Holder, ...] = ()


def dumped(spec: Spec) -> dict[str, Any]:
    fields: dict[str, Any] = yaml.safe_load(yaml.safe_dump(spec.model_dump(mode="json")))
    return fields


def test_a_field_takes_an_object_and_gives_it_back() -> None:
    thing = Thing("a")
    spec = Holder(thing=thing)
    assert spec.thing.get("thing") is thing
    assert Holder(thing=spec.thing).thing is spec.thing
    assert spec.other is None


def test_a_file_tells_of_it_and_brings_it_back_where_it_is_held() -> None:
    spec = Holder(thing=Thing("a"))
    assert dumped(spec)["thing"] == {"python": "Thing", "size": 1, "digest": "a"}
    again = Holder.model_validate(dumped(spec))
    assert again == spec
    assert hash(again) == hash(spec)
    assert again.thing.value is spec.thing.value


def test_an_object_that_is_held_no_more_is_missing() -> None:
    spec = Holder(thing=Thing("gone"))
    fields = dumped(spec)
    del spec
    gc.collect()
    later = Holder.model_validate(fields)
    assert later.thing.value is None
    with pytest.raises(
        SpecError,
        match=r"^data.thing: is an object of Python, Thing \(size 4\), which no file holds; go on in Python: make the",
    ):
        later.thing.get("data.thing")
    assert [p.path for p in missing_objects(later)] == ["thing"]
    assert dumped(later) == fields


def test_an_equal_object_brings_it_back() -> None:
    fields = dumped(Holder(thing=Thing("b")))
    gc.collect()
    alike = Holder(thing=Thing("b"))
    assert Holder.model_validate(fields).thing.value is alike.thing.value
    assert list(missing_objects(alike)) == []


def test_objects_are_equal_where_what_is_told_of_them_is() -> None:
    assert Holder(thing=Thing("a")) == Holder(thing=Thing("a"))
    assert Holder(thing=Thing("a")) != Holder(thing=Thing("b"))
    assert Holder(thing=Thing("a")).thing != "a"
    assert repr(Holder(thing=Thing("a")).thing) == "<Thing (size 1)>"
    assert Holder(thing=Thing("a")).summary() == "holder(thing=<Thing (size 1)>)"


@pytest.mark.parametrize("value", ["Thing", 3, 0.5, True])
def test_plain_values_are_no_objects(value: object) -> None:
    with pytest.raises(
        SpecError, match=r"^Holder.thing: is an object of Python, which only Python can give, found "
    ):
        Holder(thing=value)


def test_objects_that_will_not_do_are_refused_in_their_words() -> None:
    with pytest.raises(SpecError, match=r"^Holder.thing: a list is no thing$"):
        Holder(thing=[1])
    with pytest.raises(SpecError, match=r"^Holder.thing: a dict is no thing$"):
        Holder(thing={"a": 1})


def test_objects_at_any_depth() -> None:
    one, two = Holder(thing=Thing("a"), other=Thing("b")), Holder(thing=Thing("c"))
    paths = {path: held.about["digest"] for path, held in objects_in(Outer(inner=one, many=(two,)))}
    assert paths == {"inner.thing": "a", "inner.other": "b", "many.0.thing": "c"}


def test_a_json_schema_describes_what_a_file_has() -> None:
    schema = Holder.model_json_schema()["properties"]["thing"]
    assert schema["required"] == ["python"]
    assert schema["type"] == "object"


def test_only_objects_are_put_into_holders() -> None:
    fields: dict[str, object] = {"data": {"kind": "digits"}, "seed": [1], "backbone": None, "name": "x"}
    assert with_holders(fields) == fields
    assert with_holders({"data": "photos"}) == {"data": "photos"}
    with pytest.raises(SpecError, match=r"PythonData.train: a Thing is no set of images by index"):
        with_holders({"data": Thing("a")})
