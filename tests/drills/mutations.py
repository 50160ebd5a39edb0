"""Mutated specs: values, fields and text that a slip, a script or a stranger may put into one."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml

from sslkit.registry.manager import registry
from sslkit.specs.families import FAMILIES

Spec = dict[str, Any]
Place = tuple[Any, Any]
"""A dict or list inside a spec, and the key or index of a value in it."""

STRANGE: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 3.5, -0.0, 1e-300, 1e300, 10**12, 10**30, float("nan"), float("inf"),
    "", " ", "nope", "1 steps", "0 epochs", "-3 steps", "1e9 epochs", "mae", "vit", "knn", "student", "\0", "\u202e",
    "../..", "/", "~", "a" * 5000, "é" * 300, [], [[]], {}, {"": None}, {"kind": None}, {"kind": "nope"}, {1: 2},
    [1, "two", None], ["x"] * 50,
)  # fmt: skip
FACTORS = (0, 0.5, 2, 3, 10, 1000, -1)


def mutated(base: Spec, dice: random.Random) -> tuple[str, str]:
    """(what was done, YAML) of a copy of `base` with one to three mutations."""
    spec, done, mild = copy.deepcopy(base), [], dice.random() < 0.5
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        mutation = dice.choice(MILD if mild else VALUES)
        done.append(mutation(spec, dice))
    text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    if not mild and dice.random() < 0.4:
        mutate = dice.choice(TEXTS)
        text = mutate(text, dice)
        done.append(mutate.__name__)
    return ", ".join(done), text


def _places(value: Any) -> Iterator[Place]:
    if isinstance(value, dict | list):
        keys: Sequence[Any] = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            yield from _places(value[key])


def _some(spec: Spec, dice: random.Random) -> Place:
    return dice.choice([*_places(spec)] or [({"": None}, "")])


def strange(spec: Spec, dice: random.Random) -> str:
    """Another type, or a number of another size."""
    holder, key = _some(spec, dice)
    holder[key] = copy.deepcopy(dice.choice(STRANGE))
    return f"{key} = {str(holder[key])[:30]!r}"


def scaled(spec: Spec, dice: random.Random) -> str:
    """A number that is larger, smaller or negative."""
    numbers = [(h, k) for h, k in _places(spec) if type(h[k]) in (int, float)]
    if not numbers:
        return "no number"
    holder, key = dice.choice(numbers)
    holder[key] = type(holder[key])(holder[key] * dice.choice(FACTORS))
    return f"{key} = {holder[key]}"


def sized(spec: Spec, dice: random.Random) -> str:
    """A number that may well be right."""
    numbers = [(h, k) for h, k in _places(spec) if type(h[k]) in (int, float)]
    if not numbers:
        return "no number"
    holder, key = dice.choice(numbers)
    value = holder[key]
    holder[key] = (
        max(1, value + dice.choice([-1, 1, value])) if type(value) is int else value * dice.choice([0.5, 0.9])
    )
    return f"{key} = {holder[key]}"


def another(spec: Spec, dice: random.Random) -> str:
    """A component of another kind of its family, as it is by default."""
    components = [
        (h, k) for h, k in _places(spec) if isinstance(h[k], dict) and isinstance(h[k].get("kind"), str)
    ]
    if not components:
        return "no component"
    holder, key = dice.choice(components)
    families = [family for family in FAMILIES if holder[key]["kind"] in registry().kinds(family)]
    if not families:
        return "no family"
    holder[key] = {"kind": dice.choice(sorted(registry().kinds(families[0])))}
    return f"{key} = {holder[key]['kind']}"


def dropped(spec: Spec, dice: random.Random) -> str:
    """A field less."""
    holder, key = _some(spec, dice)
    del holder[key]
    return f"no {key}"


def misspelled(spec: Spec, dice: random.Random) -> str:
    """A field with a letter too many."""
    holder, key = _some(spec, dice)
    if isinstance(holder, dict) and isinstance(key, str):
        at = dice.randrange(len(key) + 1)
        holder[key[:at] + dice.choice("aeiost_. ") + key[at:]] = holder.pop(key)
    return f"misspelled {key}"


def swapped(spec: Spec, dice: random.Random) -> str:
    """Two values that change places."""
    (one, a), (two, b) = _some(spec, dice), _some(spec, dice)
    one[a], two[b] = copy.deepcopy(two[b]), copy.deepcopy(one[a])
    return f"{a} <-> {b}"


def repeated(spec: Spec, dice: random.Random) -> str:
    """A list or mapping with very many entries."""
    holders = [(h, k) for h, k in _places(spec) if isinstance(h[k], list | dict) and h[k]]
    if not holders:
        return "no list"
    holder, key = dice.choice(holders)
    times = dice.choice([2, 30, 300])
    value = holder[key]
    if isinstance(value, list):
        holder[key] = [copy.deepcopy(one) for one in value for _ in range(times)]
    else:
        name, one = dice.choice(list(value.items()))
        holder[key] = {**value, **{f"{name}{i}": copy.deepcopy(one) for i in range(times)}}
    return f"{key} x {times}"


def nested(spec: Spec, dice: random.Random) -> str:
    """A value inside itself, several levels deep."""
    holder, key = _some(spec, dice)
    value = copy.deepcopy(holder[key])
    for _ in range(dice.choice([1, 3, 60])):
        value = {key: value} if isinstance(key, str) else [value]
    holder[key] = value
    return f"{key} nested"


def added(spec: Spec, dice: random.Random) -> str:
    """A field that there is elsewhere."""
    holder, key = _some(spec, dice)
    other, name = _some(spec, dice)
    if isinstance(holder[key], dict) and isinstance(name, str):
        holder[key][name] = copy.deepcopy(other[name])
    return f"{name} in {key}"


def cut(text: str, dice: random.Random) -> str:
    return text[: dice.randrange(len(text) + 1)]


def typed(text: str, dice: random.Random) -> str:
    """A key that was hit by mistake."""
    at = dice.randrange(len(text) + 1)
    return text[:at] + dice.choice("\t\n:-#&*!|>'\"{}[],%@`?~\\\0é\u2028") + text[at:]


def lineless(text: str, dice: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    del lines[dice.randrange(max(1, len(lines)))]
    return "".join(lines)


def doubled(text: str, dice: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at = dice.randrange(max(1, len(lines)))
    return "".join(lines[: at + 1] + lines[at:])


def indented(text: str, dice: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at = dice.randrange(max(1, len(lines)))
    lines[at] = dice.choice([" ", "  ", "\t"]) + lines[at]
    return "".join(lines)


def aliased(text: str, dice: random.Random) -> str:
    """Anchors of anchors, which would be `ten` to the power of `levels` values."""
    levels, ten = dice.choice([(2, 3), (4, 10), (8, 10)])
    rows = ["x0: &x0 [a, a]"]
    rows += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * ten)}]" for i in range(1, levels)]
    return "\n".join(rows) + "\n" + text


def itself(text: str, dice: random.Random) -> str:
    """An anchor inside itself."""
    return f"data: &d {{kind: digits, more: *d}}\n{text}"


def tagged(text: str, dice: random.Random) -> str:
    """Tags of other languages, which name nothing that exists."""
    tag = dice.choice(
        ["!!python/object:no.such.Class", "!!python/name:no.such.name", "!thing", "!!binary", "!!set"]
    )
    return text.replace(": ", f": {tag} ", 1)


def several(text: str, dice: random.Random) -> str:
    return f"{text}---\n{text}"


MILD: tuple[Callable[[Spec, random.Random], str], ...] = (sized, sized, another, another, dropped)
"""What may well be a spec still, so that `explain` and `run` have something to do."""
VALUES: tuple[Callable[[Spec, random.Random], str], ...] = (
    strange, strange, strange, scaled, scaled, dropped, misspelled, swapped, repeated, nested, added,
)  # fmt: skip
TEXTS = (cut, typed, typed, lineless, doubled, indented, aliased, itself, tagged, several)
