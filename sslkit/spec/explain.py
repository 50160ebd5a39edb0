"""Readable spec errors: the path, the value and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sslkit import catalog
from sslkit.errors import SpecError
from sslkit.spec.base import Problem, Slot, Spec
from sslkit.spec.run import RunSpec

SHOWN = 8
"""Errors listed before the rest is only counted."""


def suggest(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'? Known: x, y.`, as far as there is something to say."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names)}." if names else f"{hint}None is known."


def spec_error(error: ValidationError, data: object, root: type[Spec] = RunSpec, notes: str = "") -> SpecError:
    """Turn pydantic's report on `data` into one readable error."""
    lines = list(dict.fromkeys(_line(item, data, root) for item in error.errors(include_url=False)))
    return _joined(lines, notes)


def check(run: RunSpec, notes: str = "") -> None:
    """Ask every spec in `run` for its problems, torch-free.

    Raises:
        SpecError: at least one was found.
    """
    lines = [f"{problem.path or 'spec'}: {problem.message}" for problem in problems(run)]
    if lines:
        raise _joined(lines, notes)


def problems(run: RunSpec) -> Iterator[Problem]:
    """Everything that the specs in `run` say is wrong, with paths from its root."""
    for path, spec in walk(run):
        for problem in spec.problems(run):
            yield Problem(".".join(part for part in (path, problem.path) if part), problem.message)


def walk(spec: object, path: str = "") -> Iterator[tuple[str, Spec]]:
    """Every spec inside `spec`, itself included, with its dotted path."""
    if isinstance(spec, Spec):
        yield path, spec
        items: Iterable[tuple[object, object]] = ((name, getattr(spec, name)) for name in type(spec).model_fields)
    elif isinstance(spec, Mapping):
        items = spec.items()
    elif isinstance(spec, tuple | list):
        items = enumerate(spec)
    else:
        return
    for key, value in items:
        yield from walk(value, f"{path}.{key}" if path else str(key))


def _joined(lines: list[str], notes: str) -> SpecError:
    shown = lines[:SHOWN] + ([f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])
    return SpecError("\n".join(shown + ([notes] if notes else [])))


def _line(item: Any, data: object, root: type[Spec]) -> str:  # noqa: ANN401
    path, owner = _locate(item["loc"], data, root)
    message = _message(item, owner)
    return f"{'.'.join(path) or 'spec'}: {message}"


def _message(item: Any, owner: type[BaseModel] | None) -> str:  # noqa: ANN401
    kind, found = item["type"], item.get("input")
    context = item.get("ctx", {})
    if kind == "extra_forbidden":
        known = owner.model_fields if owner else {}
        return f"is not a field of {owner.__name__ if owner else 'this spec'}. {suggest(str(item['loc'][-1]), known)}"
    if kind == "missing":
        return "is missing. " + _description(owner, str(item["loc"][-1]))
    if kind == "union_tag_not_found":
        return f"`kind` is missing in {_short(found)}."
    if kind == "union_tag_invalid":
        known = [name.strip("'") for name in context["expected_tags"].split(", ")]
        family = next((f for f in _families() if set(known) == set(catalog.kinds(f))), "kind")
        return f"{context['tag']!r} is not {_article(family)}. {suggest(context['tag'], known)}"
    if kind == "value_error":
        return str(context.get("error", item["msg"])) + _found(item)
    text = item["msg"][0].lower() + item["msg"][1:]
    return f"{text}, found {_short(found)}"


def _found(item: Any) -> str:  # noqa: ANN401
    return f", found {_short(item['input'])}" if isinstance(item.get("input"), str | int | float) else ""


def _short(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _families() -> Iterable[str]:
    from sslkit.spec.families import FAMILIES

    return FAMILIES


def _description(owner: type[BaseModel] | None, field: str) -> str:
    info = owner.model_fields.get(field) if owner else None
    return (info.description or "").split("\n")[0] if info else ""


def _locate(loc: tuple[object, ...], data: object, root: type[Spec]) -> tuple[list[str], type[BaseModel] | None]:
    """Path of `loc` without the tags that pydantic inserts, and the spec class that owns its last element."""
    path: list[str] = []
    owner: type[BaseModel] | None = root
    family: str | None = None
    for i, element in enumerate(loc):
        if family is not None and element in catalog.kinds(family):
            owner, family = catalog.kinds(family)[str(element)], None
            continue
        if owner is not None and _is_union_branch(element, owner):
            continue
        path.append(str(element))
        if i == len(loc) - 1:
            break
        owner, family = _descend(owner, element, family)
    return path, owner


def _is_union_branch(element: object, owner: type[BaseModel]) -> bool:
    """Branches of a plain union (`float | Ramp`) stand in the location by type name."""
    return element in {"float", "int", "str", "none"} and str(element) not in owner.model_fields


def _descend(
    owner: type[BaseModel] | None, element: object, family: str | None
) -> tuple[type[BaseModel] | None, str | None]:
    """The spec class and slot family found at `element` of `owner`; containers keep what they contain."""
    if family is not None or owner is None or str(element) not in owner.model_fields:
        return owner, family
    info = owner.model_fields[str(element)]
    inner_family = _slot_family(info.annotation, info.metadata)
    inner_spec = _spec_class(info.annotation)
    return (inner_spec or owner), inner_family


def _slot_family(annotation: object, metadata: Iterable[object] = ()) -> str | None:
    """Family of the first slot inside `annotation`."""
    if any(isinstance(m, Slot) for m in (*metadata, *getattr(annotation, "__metadata__", ()))):
        base = getattr(annotation, "__origin__", annotation)
        return str(getattr(base, "family", ""))
    return next((f for f in map(_slot_family, get_args(annotation)) if f), None)


def _spec_class(annotation: object) -> type[BaseModel] | None:
    """First spec class inside `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((s for s in map(_spec_class, get_args(annotation)) if s), None)
