"""Conformance checks of every spec class, whatever its family. Torch-free."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, TypeAdapter

from sslkit.specs.base import Spec
from sslkit.specs.docstrings import description
from sslkit.specs.error_location import annotation_of, options, slot_family, spec_class
from sslkit.specs.families import FAMILIES
from sslkit.specs.load import parse_yaml
from sslkit.specs.schema import json_schema
from sslkit.specs.slots import Slot
from sslkit.testing.kit_report import Checks, require

EXAMPLE = "makes an example"
"""Name of the check without which nothing of a kind is tried."""


def module_checks(module: str) -> Checks:
    """The checks of the module that an entry point names."""
    return {
        "imports without torch": partial(_imports_without_torch, module),
        "lists the kinds that it returns": partial(_lists_its_kinds, module),
    }


def class_checks(cls: type[Spec]) -> Checks:
    """The checks that need no instance."""
    return {
        "has a JSON schema": partial(_has_schema, cls),
        "describes itself and every field": partial(_is_described, cls),
        "has one example": partial(_has_one_example, cls),
    }


def instance_checks(spec: Spec) -> Checks:
    """The checks of the class's example."""
    return {
        "goes to YAML and back": partial(_round_trips, spec),
        "sums itself up in one line": partial(_sums_up, spec),
    }


def _imports_without_torch(module: str) -> None:
    hook = f"list(getattr({module}, 'sslkit_specs', list)())"  # imports what the module leaves for later
    code = f"import sys; import {module}; {hook}; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    trace = done.stderr.strip().splitlines()
    require(not trace or done.returncode == 0, f"{module} cannot be imported: {trace[-1] if trace else ''}")
    require(
        done.returncode == 0,
        f"{module} imports torch; import it, and whatever needs it, inside `build` or under TYPE_CHECKING",
    )


def _lists_its_kinds(module: str) -> None:
    plugin = import_module(module)
    listed = getattr(plugin, "KINDS", None)
    returned: dict[str, dict[str, str]] = {}
    for cls in plugin.sslkit_specs() if listed is not None else ():
        returned.setdefault(cls.family, {})[cls.kind_name()] = f"{cls.__module__}:{cls.__name__}"
    require(listed is None or listed == returned, f"KINDS is {listed}, sslkit_specs() returns {returned}")


def _has_schema(cls: type[Spec]) -> None:
    schema = json_schema(cls)
    require(
        "kind" in schema.get("required", []), "`kind` is not among the required properties of its JSON schema"
    )


def _is_described(cls: type[Spec]) -> None:
    bare = list(_undescribed(cls, cls.__name__, set()))
    require(
        not bare,
        f"no docstring below {', '.join(bare)}; people read them in `sslkit plugins show` and editors",
    )


def _undescribed(cls: type[BaseModel], name: str, seen: set[type]) -> Iterator[str]:
    """The class, its fields and those of the plain specs inside it, as far as nothing describes them."""
    seen.add(cls)
    if not (inspect.cleandoc(cls.__dict__.get("__doc__") or "")):
        yield name
    for field, info in cls.model_fields.items():
        if field != "kind" and not description(cls, field):
            yield f"{name}.{field}"
        for option in options(annotation_of(info)):
            inner = None if slot_family(option) else spec_class(option)
            if inner is not None and inner not in seen:
                yield from _undescribed(inner, inner.__name__, seen)


def _round_trips(spec: Spec) -> None:
    annotation: Any = Annotated[FAMILIES[spec.family], Slot()]
    slot = TypeAdapter(annotation)
    for unset in (True, False):
        text = yaml.safe_dump(spec.model_dump(mode="json", exclude_unset=unset), sort_keys=False)
        back = slot.validate_python(parse_yaml(text, "its YAML"))
        require(back == spec, f"{spec.summary()} comes back from YAML as {back.summary()}")
        require(hash(back) == hash(spec), "equal specs must have equal hashes; keep its fields to plain data")


def _has_one_example(cls: type[Spec]) -> None:
    try:
        first, second = cls.example(), cls.example()
    except Exception:  # it cannot be made at all, which is told where it is made
        return
    require(first == second, "`example` gives another spec at every call; seed whatever is random in it")


def _sums_up(spec: Spec) -> None:
    text = spec.summary()
    require(
        bool(text.strip()) and "\n" not in text, f"`summary` gives {text!r}; one line says what the spec is"
    )
