"""Traversal of nested specs, and of single words of a path."""

from types import MappingProxyType

import pytest

from sslkit.specs.schedule import Ramp
from sslkit.specs.walk import children, part, walk
from sslkit_maskers.specs.unguided import RandomMasker


def test_children_of_specs_mappings_and_lists():
    assert dict(children(Ramp(start=0.0, end=1.0))).keys() == Ramp.model_fields.keys()
    assert list(children(MappingProxyType({"a": 1}))) == [("a", 1)]
    assert list(children((5, [6]))) == [(0, 5), (1, [6])]


@pytest.mark.parametrize("value", ["text", 3, None, {1, 2}])
def test_anything_else_has_nothing_inside(value: object):
    assert list(children(value)) == []
    assert part(value, "start") is None


def test_walk_gives_every_spec_with_its_path():
    masker = RandomMasker(ratio=0.5)
    assert list(walk({"a": [masker], "b": "text"})) == [("a.0", masker)]
    assert next(iter(walk(masker, "masker"))) == ("masker", masker)


@pytest.mark.parametrize(
    ("value", "key", "inside"),
    [
        (Ramp(start=0.0, end=1.0), "end", 1.0),
        (Ramp(start=0.0, end=1.0), "nothing", None),
        ({"a": 1}, "a", 1),
        ({"a": 1}, "b", None),
        ((7, 8), "1", 8),
        ([7, 8], "2", None),
    ],
)
def test_the_part_that_a_word_leads_to(value: object, key: str, inside: object):
    assert part(value, key) == inside
