"""Locations of pydantic become the paths that stand in the file, and what is expected there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from sslkit import MAE, Digits, Ramp, RandomMasker, RunSpec
from sslkit.specs.base import Spec
from sslkit.specs.error_location import annotation_of, choices, locate, options, slot_family, spec_class
from sslkit.specs.families import AugmentField, EvaluatorField, MaskerField


class Part(Spec):
    random: int = 0
    float: int = 0
    Ramp: int = 0


class Odd(Spec):
    """Fields whose names are those of kinds, branches and types."""

    masker: MaskerField | None = None
    either: float | Ramp | None = None
    nested: Mapping[str, tuple[float | Ramp, ...]] = {}
    table: Mapping[str, Mapping[str, MaskerField]] = {}
    part: Part = Part()
    mixed: str | MaskerField = "no"
    few: tuple[float, Part] = (0.0, Part())
    bounded: Annotated[int, Field(ge=0)] | Part = 0


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"masker": {"kind": "random", "random": 1}}, ["masker.random"]),
        ({"masker": {"kind": "random", "ratio": "x"}}, ["masker.ratio"]),
        ({"masker": {"kind": "x"}}, ["masker"]),
        ({"either": "x"}, ["either", "either"]),
        (
            {"either": {"start": 0, "end": 0, "Ramp": 1, "float": 2}},
            ["either", "either.Ramp", "either.float"],
        ),
        ({"nested": {"float": [1.0, {"start": 0}]}}, ["nested.float.1", "nested.float.1.end"]),
        ({"table": {"random": {"random": {"kind": "random", "ratio": 2}}}}, ["table.random.random.ratio"]),
        ({"part": {"random": "x", "float": "x", "Ramp": "x"}}, ["part.random", "part.float", "part.Ramp"]),
        ({"mixed": {"kind": "random", "ratio": 2}}, ["mixed", "mixed.ratio"]),
        ({"few": [1.0, {"float": "x"}]}, ["few.1.float"]),
        ({"few": [1.0]}, ["few.1"]),
        ({"bounded": -1}, ["bounded", "bounded"]),
        ({"bounded": {"random": "x"}}, ["bounded", "bounded.random"]),
        ({"table": {1: {}}}, ["table.1"]),
        ({"zzz": {"random": 1}}, ["zzz"]),
    ],
)
def test_paths_hold_what_stands_in_the_file_and_nothing_else(data: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Odd.model_validate(data)
    found = [".".join(locate(e["loc"], Odd).path) for e in caught.value.errors()]
    assert sorted(found) == sorted(paths)


def test_the_place_knows_the_owner_the_field_and_the_union() -> None:
    place = locate(("masker", "random", "ratio"), Odd)
    assert (place.owner, place.path) == (RandomMasker, ("masker", "ratio"))
    assert place.field is RandomMasker.model_fields["ratio"]
    place = locate(("either", "Ramp", "end"), Odd)
    assert (place.owner, place.union, place.branch) == (Ramp, ("either",), Ramp)
    assert locate((), Odd).annotation is Odd


def test_a_location_that_the_annotations_do_not_know_is_kept_as_it_is() -> None:
    place = locate(("zzz", 0, "random"), Odd)
    assert place.path == ("zzz", "0", "random")
    assert place.annotation is None


def test_annotations() -> None:
    assert slot_family(MaskerField) == "masker"
    assert slot_family(MaskerField | None) == "masker"
    assert slot_family(tuple[AugmentField, ...]) is None
    assert slot_family(annotation_of(RunSpec.model_fields["data"])) == "source"
    assert slot_family(MAE) is None
    assert spec_class(float | Ramp) is Ramp
    assert spec_class(float) is None
    assert choices(Literal["a", "b"] | None) == ["a", "b"]
    assert choices(float) == []
    assert options(Annotated[float | None, Field(ge=0)]) == [float]
    assert options(EvaluatorField) == [EvaluatorField]
    assert annotation_of(None) is None
    assert Digits.kind_name() == "digits"
