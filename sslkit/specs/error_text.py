"""Validation of specs, with readable errors: the path, the value and the way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from sslkit import catalog
from sslkit.errors import SpecError
from sslkit.specs.docstrings import description
from sslkit.specs.error_location import Place, choices, locate, slot_family, spec_class
from sslkit.specs.slots import NO_KINDS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


SHOWN = 8
"""Errors listed before the rest is only counted."""

LONG_LIST = 24
"""Names past which a list of all of them helps less than the one close match."""

_EXPECTED = {
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "string_type": "must be text",
    "string_unicode": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
    "mapping_type": "must be a mapping of names to values",
    "path_type": "must be a path",
    "invalid_key": "must be text as every key; quote it",
    "recursion_loop": "must not contain itself",
}
"""Types of pydantic's errors whose own words would not help."""


def suggest(word: str, candidates: Iterable[str]) -> str:
    """`Did you mean 'x'? Known: x, y.`, as far as there is something to say."""
    names = sorted(candidates)
    spellings = {_spelling(name): name for name in names}
    close = difflib.get_close_matches(_spelling(word[:99]), spellings, n=1, cutoff=0.6)
    hint = f"Did you mean {spellings[close[0]]!r}?" if close else ""
    if close and len(names) > LONG_LIST:
        return hint
    return f"{hint} Known: {', '.join(names)}.".lstrip() if names else "None is known."


def _spelling(word: str) -> str:
    """`word` as names are compared: `MAE` is like `mae`, and `MoCo-v3` like `moco_v3`."""
    return re.sub(r"[\s-]+", "_", word.strip()).casefold()


def spec_error(error: ValidationError, root: type[BaseModel], notes: str = "", prefix: str = "") -> SpecError:
    """Turn pydantic's report on a spec of class `root` into one readable error.

    `notes` (on plugins that are not in use) is added only where a kind is asked for that nobody offers.
    """
    items = error.errors(include_url=False)
    places = [locate(item["loc"], root) for item in items]
    messages: dict[str, str] = {}
    for item, place in zip(items, places, strict=True):
        if _branch_was_meant(place, places) and not _is_long_enough(item):
            path, message = _explained(item, place)
            where = ".".join([*([prefix] if prefix else []), *map(_key, path)])
            messages.setdefault(where or "spec", message)
    unknown_kind = any(item["type"] in {"union_tag_invalid", NO_KINDS} for item in items)
    return joined(messages, notes if unknown_kind else "")


def joined(messages: Mapping[str, str], notes: str = "") -> SpecError:
    """One error with a line for each path and its message, the first `SHOWN` of them."""
    lines = [f"{path}: {message}" for path, message in messages.items()]
    shown = lines[:SHOWN] + ([f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])
    return SpecError("\n".join(shown + ([notes] if notes else [])))


def _branch_was_meant(place: Place, places: Iterable[Place]) -> bool:
    """False for the branches of a plain union that the user did not write.

    pydantic reports every branch of `float | Ramp`. A mapping was meant as a `Ramp`, and only then do errors
    stand below the union's own path; anything else was meant as a number.
    """
    if place.union is None:
        return True
    inside = any(p.union == place.union and len(p.path) > len(place.union) for p in places)
    return inside == (len(place.path) > len(place.union)) and (inside or spec_class(place.branch) is None)


def _is_long_enough(item: ErrorDetails) -> bool:
    """Whether too few elements are only those that are right, so that the errors of the others say it all."""
    value = item.get("input")
    return (
        item["type"] == "too_short" and isinstance(value, Sized) and len(value) >= item["ctx"]["min_length"]
    )


def _explained(item: ErrorDetails, place: Place) -> tuple[tuple[str, ...], str]:
    """The path to show, and the message there."""
    kind = item["type"]
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return (*place.path, "kind"), _about_kind(item, place)
    if kind in _EXPLAIN:
        return place.path, _EXPLAIN[kind](item, place)
    return place.path, f"{_expected(item)}{_alternative(place)}, found {_short(item.get('input'))}"


def _about_kind(item: ErrorDetails, place: Place) -> str:
    family = slot_family(place.annotation) or "spec"
    kinds = catalog.kinds(family)
    if item["type"] == "union_tag_not_found":
        return _without_kind(item.get("input"), place, family)
    tag = str(item["ctx"]["tag"])
    return catalog.missing(family, tag, f"{_cut(repr(tag))} is not {_article(family)}. {suggest(tag, kinds)}")


def _without_kind(value: object, place: Place, family: str) -> str:
    terms = (
        [str(name) for name, term in value.items() if _has_kind(term)] if isinstance(value, Mapping) else []
    )
    if terms and place.path[-1:] == ("objective",):
        named = ", ".join(f"{name}: ..." for name in terms)
        return f"is missing; several objectives go by name under `objectives`: `objectives: {{{named}}}`"
    return f"is missing; it says which {family} is meant. {suggest('', catalog.kinds(family))}"


def _has_kind(value: object) -> bool:
    return isinstance(value, Mapping) and "kind" in value


def _unknown_field(item: ErrorDetails, place: Place) -> str:
    owner = place.owner
    if owner is None:
        return "is not a field"
    return f"is not a field of {owner.__name__}. {suggest(str(item['loc'][-1]), owner.model_fields)}"


def _missing(item: ErrorDetails, place: Place) -> str:
    owner = place.owner
    if owner is None:
        return "is missing."
    # an element of a tuple is missing too: the field is then not the last of the path
    name = next((name for name, info in owner.model_fields.items() if info is place.field), "")
    return f"is missing. {' '.join(description(owner, name).split())}".rstrip()


def _not_a_mapping(item: ErrorDetails, place: Place) -> str:
    family, value = slot_family(place.annotation), item.get("input")
    if family is not None:
        kinds = sorted(catalog.kinds(family))
        bundled = [kind for kind in kinds if kind not in catalog.ELSEWHERE.get(family, {})]
        example = value if isinstance(value, str) and value in kinds else (bundled or kinds)[0]
        return f"must be a mapping with `kind`, as in {{kind: {example}}}, found {_short(value)}"
    cls = spec_class(place.annotation)
    if cls is not None and type(value).__qualname__ == cls.__qualname__:
        return f"is a {cls.__name__} from before that class was defined anew; make it again"
    return f"must be a mapping of the fields of {cls.__name__ if cls else 'a spec'}, found {_short(value)}"


def _not_a_choice(item: ErrorDetails, place: Place) -> str:
    value = item.get("input")
    word = value if isinstance(value, str) else _shown(value)  # some integers are too large for `str`
    return f"{_cut(_shown(value))} is not a choice. {suggest(word, choices(place.annotation))}"


def _own_words(item: ErrorDetails, place: Place) -> str:
    """The message of a spec's validator."""
    value = item.get("input")
    message = str(item.get("ctx", {}).get("error", item["msg"]))
    return f"{message}, found {_short(value)}" if isinstance(value, str | int | float) else message


_EXPLAIN: dict[str, Callable[[ErrorDetails, Place], str]] = {
    "extra_forbidden": _unknown_field,
    "missing": _missing,
    "model_type": _not_a_mapping,
    "model_attributes_type": _not_a_mapping,
    "literal_error": _not_a_choice,
    "value_error": _own_words,
    "assertion_error": _own_words,
    NO_KINDS: lambda item, place: str(item["msg"]),
}
"""Types of pydantic's errors with a message of their own."""


def _expected(item: ErrorDetails) -> str:
    """`must be ...`."""
    if item["type"] in _EXPECTED:
        return _EXPECTED[item["type"]]
    if item["type"] == "too_short":
        return f"must have at least {item['ctx']['min_length']}"
    if item["type"] == "too_long":
        return f"must have at most {item['ctx']['max_length']}"
    text = str(item["msg"])
    for opening in ("Input should ", "String should ", "Value should ", "Data should "):
        if text.startswith(opening):
            return "must " + text.removeprefix(opening)
    return text[:1].lower() + text[1:]


def _key(element: str) -> str:
    """An element of a path, quoted where it could not be told from the rest of the line."""
    return element if re.fullmatch(r"[\w@/+-]+", element) else _cut(repr(element))


def _alternative(place: Place) -> str:
    """` or a mapping ...` where the union that was passed takes a spec as well."""
    if place.field is None or place.union is None:
        return ""
    cls = spec_class(place.field.annotation)
    if cls is None:
        return ""
    needed = ", ".join(name for name, info in cls.model_fields.items() if info.is_required())
    return f" or a mapping of the fields of {cls.__name__} ({needed})"


def _short(value: object) -> str:
    return "nothing (null)" if value is None else f"{_cut(_shown(value))} ({type(value).__name__})"


def _shown(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list that is nested as deep
        return "a value too large to show"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
