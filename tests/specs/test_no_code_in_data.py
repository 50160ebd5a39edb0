"""No field of any spec takes the name of code: specs are data, also those of strangers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from sslkit.core.context import Env, Length, NetInfo
from sslkit.core.view import Grid, View
from sslkit.errors import SslkitError
from sslkit.registry.manager import registry
from sslkit.specs.base import Spec
from sslkit.specs.docstrings import description
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.families import FAMILIES
from sslkit.specs.run import RunSpec
from sslkit.specs.sweep import SweepSpec

CODE = "tests.specs.never_imported"
"""A module that would fail the tests if it were imported; its names stand for code."""
NAMES = (f"{CODE}:leave", f"{CODE}.leave", CODE, f"{CODE}:Leave()")
HINTS = re.compile(
    r"\b(import\w*|module|callable|function|entry.?point|package|plugin|script|names? of (a|the) class)\b",
    re.IGNORECASE,
)
"""Words by which a name or description would tell that a text names code."""
REASONED = {
    "TorchJD.aggregator": "looked up among the aggregators that torchjd itself exports; nothing is imported by it",
    "CompileSpec.backend": "torch compares it with the back ends that are installed; nothing is imported by it",
}
"""Field -> why it may be described so."""


def classes() -> list[type[Spec]]:
    """Every kind, and every spec inside them or of the core."""
    kinds = [cls for family in FAMILIES for cls in registry().kinds(family).values()]
    reached = dict.fromkeys([RunSpec, EvaluationSpec, SweepSpec, *kinds])
    for cls in list(reached):
        reached |= dict.fromkeys(inside(cls))
    return list(reached)


def inside(cls: type[Spec]) -> Iterator[type[Spec]]:
    """The specs that fields of `cls` hold, at any depth, slots aside."""
    for info in cls.model_fields.values():
        for part in parts(info.annotation):
            if (
                isinstance(part, type)
                and issubclass(part, Spec)
                and part is not cls
                and "kind" not in part.model_fields
            ):
                yield part
                yield from inside(part)


def parts(annotation: Any) -> Iterator[Any]:
    """`annotation` and everything in its brackets."""
    yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from parts(argument)


def takes_text(info: FieldInfo) -> bool:
    """Whether any text may stand in the field, or inside it."""
    return any(part is str or part is Any for part in parts(info.annotation))


FIELDS = [
    pytest.param(cls, name, id=f"{cls.__name__}.{name}")
    for cls in classes()
    for name, info in cls.model_fields.items()
    if name != "kind" and takes_text(info)
]


def test_the_walk_reaches_what_specs_are_made_of():
    seen = {param.id for param in FIELDS}
    assert {"RunSpec.name", "TorchJD.options", "Timm.arguments", "CompileSpec.backend"} <= seen
    assert len(seen) > 30


@pytest.mark.parametrize(("cls", "name"), FIELDS)
def test_no_field_is_said_to_name_code(cls, name):
    if f"{cls.__name__}.{name}" in REASONED:
        return
    words = HINTS.findall(f"{name}\n{description(cls, name)}")
    assert not words, f"its name or description tells of {words}; specs name kinds, and plugins offer them"


def patterns(info: FieldInfo) -> Iterator[str]:
    """Every pattern that texts of the field are held to."""
    for metadata in info.metadata:
        pattern = getattr(metadata, "pattern", None)
        if isinstance(pattern, str):
            yield pattern


@pytest.mark.parametrize(("cls", "name"), FIELDS)
def test_no_pattern_is_made_for_names_of_code(cls, name):
    for pattern in patterns(cls.model_fields[name]):
        assert not re.search(pattern, "package.module:function"), pattern


def named(value: Any, code: str) -> Iterator[Any]:
    """`value`, as YAML has it, with `code` in place of one of its texts, or added to one of its mappings."""
    match value:
        case str():
            yield code
        case dict():
            yield from (
                {**value, key: other}
                for key, item in value.items()
                if key != "kind"
                for other in named(item, code)
            )
            if not any(isinstance(item, dict) for item in value.values()) and "kind" not in value:
                yield {**value, code: code}
        case list():
            yield from (
                [*value[:i], other, *value[i + 1 :]]
                for i, item in enumerate(value)
                for other in named(item, code)
            )
            yield [*value, code]
        case None:
            yield code


def build(spec: Any) -> None:
    """As a run builds it."""
    view = View(16, 1, 1, (0.5,), (0.5,))
    net = NetInfo(16, 2, {"global": Grid(2, 2, 8)})
    nets = {"student": net, "teacher": net}
    env = Env(
        {"global": view, "local": view}, nets, {"global": Grid(2, 2, 8), "local": Grid(2, 2, 8)}, Length(9, 3)
    )
    arguments = {
        "backbone": (view,), "masker": (env, "global"), "target": (env, "global"), "objective": (env,),
        "balancer": (["a", "b"],), "evaluator": (), "source": ("train",), "augment": (16,),
    }  # fmt: skip
    if spec.family in arguments:
        spec.build(*arguments[spec.family])


@pytest.mark.parametrize(
    ("family", "kind"), [(family, kind) for family in FAMILIES for kind in registry().kinds(family)]
)
def test_nothing_that_a_kind_names_is_imported(family, kind):
    """Every text of the example becomes the name of code; it is refused, or is a name as any other."""
    cls = registry().kinds(family)[kind]
    example = cls.example()
    fields = {"kind": kind} if example is None else example.model_dump(mode="json")
    for code in NAMES:
        for changed in named(fields, code):
            try:
                build(cls.model_validate(changed))
            except (SslkitError, ValueError, OSError):
                continue
            finally:
                assert not [name for name in sys.modules if name.startswith(CODE)]
