"""The JSON schema holds every kind, with descriptions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sslkit import RandomMasker
from sslkit.errors import SpecError
from sslkit.registry.manager import registry
from sslkit.specs.base import Spec
from sslkit.specs.families import FAMILIES
from sslkit.specs.run import RunSpec
from sslkit.specs.schema import component, component_schema, json_schema, require_family

SCHEMA = json_schema()


def _kinds() -> list[tuple[str, str, type[Spec]]]:
    return [(family, kind, cls) for family in FAMILIES for kind, cls in registry().kinds(family).items()]


def test_the_run_schema_is_json_and_names_its_dialect() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(SCHEMA["properties"]) == set(RunSpec.model_fields)
    assert set(SCHEMA["required"]) == {"data", "views", "backbone", "batch_size"}


@pytest.mark.parametrize(("family", "kind", "cls"), _kinds())
def test_every_kind_has_a_schema_in_which_kind_is_required_and_every_field_described(
    family: str, kind: str, cls: type[Spec]
) -> None:
    made = component_schema(family, kind)
    assert "kind" in made["required"]
    assert made["properties"]["kind"]["const"] == kind
    assert made["additionalProperties"] is False
    assert made["description"]
    undescribed = [
        name
        for name in cls.model_fields
        if name != "kind" and not made["properties"][name].get("description")
    ]
    assert undescribed == []


@pytest.mark.parametrize(("family", "kind", "cls"), _kinds())
def test_the_run_schema_holds_every_kind_that_a_run_can_hold(family: str, kind: str, cls: type[Spec]) -> None:
    assert cls.__name__ in SCHEMA["$defs"]
    assert SCHEMA["$defs"][cls.__name__]["required"][0] == "kind"


def test_a_spec_that_may_hold_its_own_kind_has_its_fields_at_the_top() -> None:
    schema = component_schema("masker", "mixture")
    assert schema["title"] == "MixtureMasker"
    assert schema["required"] == ["kind", "maskers"]
    assert "$ref" not in schema
    choices = schema["properties"]["maskers"]["items"]["discriminator"]["mapping"]
    assert choices["mixture"].rpartition("/")[2] in schema["$defs"]


def test_every_field_of_the_run_and_its_parts_is_described() -> None:
    def undescribed(name: str, schema: dict[str, Any]) -> list[str]:
        """Fields without words; a reference may leave them to the class that it names."""
        fields = schema.get("properties", {}).items()
        return [
            f"{name}.{field}"
            for field, s in fields
            if field != "kind" and not {"description", "$ref"} & set(s)
        ]

    found = undescribed("run", SCHEMA) + [f for n, s in SCHEMA["$defs"].items() for f in undescribed(n, s)]
    assert found == []
    assert [name for name, schema in SCHEMA["$defs"].items() if "description" not in schema] == []


def test_a_family_is_a_union_told_apart_by_kind() -> None:
    made = component_schema("target")
    assert made["discriminator"]["propertyName"] == "kind"
    assert set(made["discriminator"]["mapping"]) == set(registry().kinds("target"))


def test_unknown_names() -> None:
    with pytest.raises(
        SpecError, match=r"^'maskr' is not a family. Did you mean 'masker'\? Known: augment, backbone,"
    ):
        require_family("maskr")
    with pytest.raises(
        SpecError, match=r"^'rnd' is not a kind of masker. (Did you mean 'random'\? )?Known: .*random"
    ):
        component("masker", "rnd")
    with pytest.raises(SpecError, match=r"^'' is not a family"):
        component_schema("", "random")
    assert component("masker", "random") is RandomMasker
