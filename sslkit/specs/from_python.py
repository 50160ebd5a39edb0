"""Objects of Python in place of specs: a dataset as `data`, a module as `backbone`. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sslkit import catalog
from sslkit.specs.base import Spec

HOLDERS = {"data": ("source", "python_data", "train"), "backbone": ("backbone", "python_module", "network")}
"""Field of a run -> family and kind of the spec that holds an object there, and its field."""


def with_holders(fields: Mapping[str, object]) -> dict[str, Any]:
    """`fields` of a run, with objects of Python inside the specs that hold them.

    Raises:
        SpecError: an object will not do.
    """
    return {name: _held(name, value) if name in HOLDERS else value for name, value in fields.items()}


def _held(name: str, value: object) -> object:
    family, kind, field = HOLDERS[name]
    if value is None or isinstance(value, Spec | Mapping | str | int | float):
        return value
    holder = catalog.kinds(family).get(kind)
    return value if holder is None else holder(**{field: value})
