"""The field `range` of sources: its forms, and one message for everything else."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from sslkit.errors import SpecError
from sslkit.plugin import Range, Spec


class Holder(Spec):
    """A spec with such a field."""

    range: Range = "auto"


FORMS = [
    ("auto", "auto"),
    ("type", "type"),
    ([0, 4095], [0.0, 4095.0]),
    ([-1024.5, 3071], [-1024.5, 3071.0]),
    ([[0, 1], [0, 10000]], [[0.0, 1.0], [0.0, 10000.0]]),
    ([[0, 1]], [[0.0, 1.0]]),
    ({"percentile": [1, 99]}, {"percentile": [1.0, 99.0]}),
]


@pytest.mark.parametrize(("value", "kept"), FORMS)
def test_every_form_is_read_and_written(value, kept):
    spec = Holder(range=value)
    written = spec.model_dump(mode="json")
    assert written == {"range": kept}
    assert Holder(**written) == spec
    assert hash(spec) == hash(Holder(**written))


def test_the_default_is_auto():
    assert Holder().range == "auto"


@pytest.mark.parametrize(
    "value",
    [
        "full", 3, None, [], [1], [5, 5], [5, 1], [1, 2, 3], [[0, 1], [2, 1]], [[0, 1], 2], ["a", "b"],
        [0, float("nan")], [0, float("inf")], {"percentile": [1]}, {"percentile": [99, 1]},
        {"percentile": [-1, 50]}, {"percentile": [0, 101]}, {"percentiles": [1, 99]}, {},
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_all_forms_in_one_line(value):
    with pytest.raises(SpecError) as raised:
        Holder(range=value)
    message = str(raised.value)
    assert "range: must be 'auto', 'type', [low, high] with low below high" in message
    assert message.count("must be") == 1


def test_editors_are_told_the_forms():
    schema = TypeAdapter(Holder).json_schema()
    assert len(schema["properties"]["range"]["anyOf"]) == 4
