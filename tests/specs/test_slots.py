"""Slots: names of kinds, whose classes are built when a value names them."""

from __future__ import annotations

import threading

import pytest
from pydantic import BaseModel

from sslkit import FixedWeights, Hybrid, MixtureMasker, RandomMasker, RunSpec
from sslkit.errors import SpecError
from sslkit.files.typed_json import DEEPEST
from sslkit.specs.families import MaskerField
from sslkit.specs.schema import json_schema
from tests.damage import read_or_refused


class Holder(BaseModel):
    """A class with a slot, none of whose kinds is built for it."""

    masker: MaskerField


def mixtures(levels: int) -> object:
    """A mapping of `levels` mixtures inside each other."""
    value: object = {"kind": "random"}
    for _ in range(levels):
        value = {"kind": "mixture", "maskers": [value]}
    return value


def test_mappings_and_specs_are_taken_and_instances_stay_the_same() -> None:
    masker = RandomMasker(ratio=0.25)
    assert Holder.model_validate({"masker": masker}).masker is masker
    assert Holder.model_validate({"masker": {"kind": "random", "ratio": 0.25}}).masker == masker


def test_another_family_s_spec_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^MixtureMasker.maskers.0.kind: 'fixed' is not a masker"):
        MixtureMasker(maskers=[FixedWeights()])


def test_what_was_set_is_written_and_nothing_else() -> None:
    dumped = Holder.model_validate({"masker": mixtures(2)}).model_dump(exclude_unset=True)
    assert dumped["masker"]["maskers"][0]["maskers"] == ({"kind": "random"},)
    assert "share" not in dumped["masker"]


def test_a_value_that_contains_itself_is_told_where() -> None:
    value: dict[str, object] = {"kind": "mixture"}
    value["maskers"] = [value]
    message = read_or_refused(lambda: MixtureMasker(maskers=[value]))
    assert isinstance(message, str)
    assert message.startswith("MixtureMasker.maskers.0.maskers.0: must not contain itself, found")


@pytest.mark.parametrize("times", [2, 100])
def test_one_value_may_stand_at_several_places(times: int) -> None:
    value = mixtures(2)
    assert len(MixtureMasker(maskers=[value] * times).maskers) == times


def test_nesting_is_bounded_in_threads_too() -> None:
    outcomes: list[object] = []
    for levels in (DEEPEST - 1, DEEPEST + 2):
        thread = threading.Thread(
            target=lambda n=levels: outcomes.append(
                read_or_refused(lambda: MixtureMasker(maskers=[mixtures(n)]))
            )
        )
        thread.start()
        thread.join()
    assert isinstance(outcomes[0], MixtureMasker)
    assert outcomes[1] == "a 'mixture' stands inside more than 100 others; write the spec flatter"


def test_the_schema_of_a_kind_that_holds_its_family_refers_to_every_kind_once() -> None:
    for cls in (MixtureMasker, Hybrid, RunSpec):
        schema = json_schema(cls)
        references = _references(schema)
        assert references == set(schema["$defs"]), cls
    assert {"MAE", "Hybrid", "FixedWeights"} <= references


def _references(value: object) -> set[str]:
    match value:
        case {"$ref": str(reference), **others}:
            return {reference.rpartition("/")[2]} | _references(others)
        case dict():
            return set[str]().union(*map(_references, value.values()))
        case list():
            return set[str]().union(*map(_references, value))
    return set()
