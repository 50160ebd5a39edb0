"""What every spec has: frozen values, hashes, `kind`, one line for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from sslkit import MAE, NormalizedPixel, RandomMasker
from sslkit.core.problem import Problem
from sslkit.errors import SpecError
from sslkit.specs.base import Spec, slot_default
from sslkit.specs.families import FAMILIES, MaskerField, MaskerSpec
from sslkit.specs.load import parse
from sslkit.specs.run import RunSpec
from tests.specs.valid import small, valid


class Leaf(Spec):
    """A leaf."""

    size: float = 1.0
    """Its size."""


class Tree(Spec):
    leaf: Leaf = Leaf()
    masker: MaskerField = slot_default("random", ratio=0.5)
    named: Mapping[str, Leaf] = {}
    row: tuple[Leaf, ...] = ()
    weights: Mapping[str, tuple[float, ...]] = {}


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Leaf().size = 2.0


def test_equal_specs_hash_equal_whatever_the_order_of_a_mapping() -> None:
    one = Tree(named={"a": Leaf(), "b": Leaf(size=2)}, weights={"x": (1.0,), "y": (2.0, 3.0)})
    other = Tree(named={"b": {"size": 2}, "a": {}}, weights={"y": [2, 3], "x": [1]})
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, Tree()}) == 2
    assert hash(parse(valid())) == hash(parse(valid()))


def test_specs_that_differ_only_in_a_default_being_written_out_are_equal() -> None:
    assert RandomMasker() == RandomMasker(ratio=0.75) == RandomMasker(kind="random")
    assert hash(RandomMasker()) == hash(RandomMasker(ratio=0.75))
    assert RandomMasker() != RandomMasker(ratio=0.5)
    assert MAE() == MAE(masker={"kind": "random"}, target=NormalizedPixel())


def test_slot_default_is_built_and_checked() -> None:
    assert Tree().masker == RandomMasker(ratio=0.5)
    assert isinstance(Tree().masker, MaskerSpec)


def test_kind_counts_as_set_and_is_the_class_selector() -> None:
    assert RandomMasker.kind_name() == "random"
    assert RandomMasker(ratio=0.5).model_dump(exclude_unset=True) == {"kind": "random", "ratio": 0.5}
    assert Leaf().model_dump(exclude_unset=True) == {}, "specs without a kind set nothing"


def test_summary_is_one_line_of_what_was_set() -> None:
    assert RandomMasker().summary() == "random"
    assert (
        MAE(masker=RandomMasker(ratio=0.5), view="global").summary()
        == "mae(masker=random(ratio=0.5), view=global)"
    )
    tree = Tree(row=(Leaf(), Leaf(size=2)), named={"a": Leaf(size=3)})
    assert tree.summary() == "Tree(named={a: Leaf(size=3.0)}, row=[Leaf, Leaf(size=2.0)])"


def test_a_spec_has_no_problems_unless_it_says_so() -> None:
    run = parse(small())
    assert list(Leaf().problems(run)) == []

    class Picky(Leaf):
        def problems(self, run: RunSpec) -> Iterator[Problem]:
            yield Problem("size", "is never right")

    assert list(Picky().problems(run)) == [Problem("size", "is never right")]


def test_descriptions_come_from_docstrings_and_kind_is_required_in_the_schema() -> None:
    schema = RandomMasker.model_json_schema()
    assert schema["required"] == ["kind"]
    assert schema["properties"]["ratio"]["description"].startswith("Share of patches to hide")
    assert Leaf.model_json_schema()["properties"]["size"]["description"] == "Its size."


def test_every_family_is_abstract_names_itself_and_can_be_told_from_the_others() -> None:
    assert {family: cls.family for family, cls in FAMILIES.items()} == {family: family for family in FAMILIES}
    for cls in FAMILIES.values():
        assert "build" in cls.__abstractmethods__
        with pytest.raises(TypeError, match="abstract"):
            cls()


def test_a_slot_takes_an_instance_of_a_registered_kind_only() -> None:
    class Stranger(MaskerSpec):
        kind: Literal["stranger"] = "stranger"

        def build(self, env: object, view: str) -> object:  # type: ignore[override]
            return view

    masker = RandomMasker(ratio=0.5)
    assert Tree(masker=masker).masker == masker
    stranger = Stranger()
    with pytest.raises(SpecError, match=r"^Tree\.masker\.kind: 'stranger' is not a masker\."):
        Tree(masker=stranger)


def test_paths_stay_as_they_were_written() -> None:
    assert parse(small(out="a/../b")).out == Path("a/../b")
