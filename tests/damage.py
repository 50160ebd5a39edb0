"""Damaged copies of files, the same for the same seed: what a reader must refuse in words, or read right.

    for damage in damaged_json({"step": 3, "best": {}}, seed=0, tries=60): ...
    for damage in damaged_lines(path.read_text(), seed=0, tries=60): ...
    for damage in damaged_bytes(path.read_bytes(), seed=0, tries=60): ...

Each yields `Damage(name, data)`: what was done, for a test's message, and the bytes to write. `tries` counts them; the
kinds of damage take turns, so that as many tries as there are kinds (`KINDS_OF_JSON`, `KINDS_OF_BYTES`) see each once.
JSON is YAML, so that `damaged_json` also damages specs and locks. No try is larger than about 1 MB, runs anything, or
holds links.

`read_or_refused(read)` calls `read` and gives what it read, or the message of its `SslkitError`; anything else that it
raises passes through and fails the test.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from sslkit.errors import SslkitError

T = TypeVar("T")
DEEP = 20_000
"""Levels of nesting: past what any parser follows by recursion."""
STRANGE: tuple[object, ...] = (
    None, True, -1, 0, 10**30, 10**400, 1e308, "", "nope", "\0", "../..", [], [[]], {}, {"": None}, [1, "two"],
)  # fmt: skip
"""Values of the wrong type or size."""


class Damage(NamedTuple):
    """One damaged copy."""

    name: str
    """What was done."""
    data: bytes


Keys = tuple[str | int, ...]
Json = Callable[[Any, random.Random], Damage]
Bytes = Callable[[bytes, random.Random], Damage]


def damaged_json(value: object, seed: int, tries: int) -> Iterator[Damage]:
    """`tries` damaged copies of the JSON file that holds `value`."""
    draw, whole = random.Random(seed), json.dumps(value).encode()
    for i in range(tries):
        kinds = len(KINDS_OF_JSON) + len(KINDS_OF_BYTES)
        at = i % kinds
        if at < len(KINDS_OF_JSON):
            yield KINDS_OF_JSON[at](copy.deepcopy(value), draw)
        else:
            yield KINDS_OF_BYTES[at - len(KINDS_OF_JSON)](whole, draw)


def damaged_lines(text: str, seed: int, tries: int) -> Iterator[Damage]:
    """`tries` copies of a file of JSON lines, one line of each damaged."""
    draw, lines = random.Random(seed), text.splitlines()
    damages = damaged_json(json.loads(lines[0]), seed, tries)
    for damage in damages:
        at = draw.randrange(len(lines))
        data = [line.encode() for line in lines]
        data[at] = damage.data.replace(b"\n", b" ")
        yield Damage(f"line {at + 1}: {damage.name}", b"\n".join(data) + b"\n")


def damaged_bytes(content: bytes, seed: int, tries: int) -> Iterator[Damage]:
    """`tries` damaged copies of any file."""
    draw = random.Random(seed)
    for i in range(tries):
        yield KINDS_OF_BYTES[i % len(KINDS_OF_BYTES)](content, draw)


def read_or_refused(read: Callable[[], T]) -> T | str:
    """What `read` gives, or the words in which it refuses."""
    try:
        return read()
    except SslkitError as error:
        message = str(error)
        assert len(message) < 5_000, f"too long to read: {message[:200]}..."
        return message


def _places(value: Any, path: Keys = ()) -> Iterator[Keys]:
    """Everything inside `value`."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inside in items:
        yield (*path, key)
        yield from _places(inside, (*path, key))


def _holder(value: Any, path: Keys) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


def _some_place(value: Any, draw: random.Random) -> Keys:
    return draw.choice(list(_places(value)) or [()])


def _dropped(value: Any, draw: random.Random) -> Damage:
    path = _some_place(value, draw)
    if path:
        del _holder(value, path)[path[-1]]
    return Damage(f"without {path}", json.dumps(value).encode())


def _replaced(value: Any, draw: random.Random) -> Damage:
    path, strange = _some_place(value, draw), draw.choice(STRANGE)
    if path:
        _holder(value, path)[path[-1]] = strange
    shown = repr(strange)[:20]
    return Damage(f"{path} is {shown}", json.dumps(value if path else strange).encode())


def _with_text(value: Any, draw: random.Random, text: str) -> Damage:
    """`text` as it stands in place of some value: what `json.dumps` would not write."""
    path, mark = _some_place(value, draw), "a mark that nothing else holds"
    if path:
        _holder(value, path)[path[-1]] = mark
    whole = json.dumps(value if path else mark).replace(json.dumps(mark), text)
    return Damage(f"{path} is {text[:20]}", whole.encode())


def _deep(value: Any, draw: random.Random) -> Damage:
    opening, closing = draw.choice([("[", "]"), ('{"a":', "}")])
    return _with_text(value, draw, opening * DEEP + "0" + closing * DEEP)


def _moderately_deep(value: Any, draw: random.Random) -> Damage:
    """Parsers follow it, and what walks the value after them may not."""
    levels = draw.choice([100, 300, 900])
    return _with_text(value, draw, "[" * levels + "0" + "]" * levels)


def _no_number(value: Any, draw: random.Random) -> Damage:
    return _with_text(value, draw, draw.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000]))


def _doubled(value: Any, draw: random.Random) -> Damage:
    text = json.dumps(value)
    if not isinstance(value, dict) or not value:
        return Damage("twice", (text + text).encode())
    key = draw.choice(list(value))
    extra = json.dumps({key: draw.choice([x for x in STRANGE if x != 10**400])})
    return Damage(f"{key!r} is there twice", (text[:-1] + ", " + extra[1:]).encode())


def _more(value: Any, draw: random.Random) -> Damage:
    if isinstance(value, dict):
        value["another_key"] = draw.choice(STRANGE)
    return Damage("another key", json.dumps(value).encode())


def _array(value: Any, draw: random.Random) -> Damage:
    return Damage("an array around it", json.dumps([value]).encode())


def _cut(content: bytes, draw: random.Random) -> Damage:
    end = draw.randrange(max(len(content), 1))
    return Damage(f"cut after {end} bytes", content[:end])


def _empty(content: bytes, draw: random.Random) -> Damage:
    return Damage("empty", b"")


def _flipped(content: bytes, draw: random.Random) -> Damage:
    if not content:
        return Damage("empty", b"")
    at, bit = draw.randrange(len(content)), draw.randrange(8)
    return Damage(
        f"bit {bit} of byte {at} flipped", content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
    )


def _not_text(content: bytes, draw: random.Random) -> Damage:
    at = draw.randrange(len(content) + 1)
    return Damage(f"no UTF-8 at byte {at}", content[:at] + b"\xff\xfe\x80" + content[at:])


def _zeros(content: bytes, draw: random.Random) -> Damage:
    """As of a disk that lost a block."""
    begin = draw.randrange(len(content) + 1)
    end = min(len(content), begin + draw.choice([1, 16, 512]))
    return Damage(f"bytes {begin} to {end} are 0", content[:begin] + bytes(end - begin) + content[end:])


KINDS_OF_JSON: tuple[Json, ...] = (
    _dropped, _replaced, _deep, _no_number, _doubled, _more, _array, _moderately_deep, _replaced, _dropped,
)  # fmt: skip
KINDS_OF_BYTES: tuple[Bytes, ...] = (_cut, _empty, _flipped, _not_text, _zeros)
