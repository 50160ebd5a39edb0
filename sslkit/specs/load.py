"""Reading and writing of spec files: YAML, with dotted overrides from the command line."""

from __future__ import annotations

import copy
import difflib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, final

import yaml
from pydantic import ValidationError

from sslkit.errors import SpecError
from sslkit.files.regular import read_text
from sslkit.files.typed_json import DEEPEST
from sslkit.specs.base import Spec
from sslkit.specs.check import check
from sslkit.specs.error_text import spec_error
from sslkit.specs.run import RunSpec

S = TypeVar("S", bound=Spec)


VARIABLE = "SSLKIT_MAX_SPEC_NODES"
"""Environment variable that names another limit than `MOST_NODES`. It is no field: a file must not raise its own."""
MOST_NODES = 20_000
"""Values and keys of a spec, with what aliases stand for written out; one of a run has some hundred."""
BYTES_A_NODE = 50
"""A spec has at most as many bytes for each node that it may have."""


@final
class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses nesting, aliases that explode, and a key given twice: PyYAML silently keeps the last.

    PyYAML lets aliases share what they name, so that a kilobyte of them loads at once; whoever walks them pays.
    """

    def __init__(self, text: str, most: int) -> None:
        super().__init__(text)
        self.most, self._nodes, self._depth = most, 0, 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose as usual, and count what there would be without aliases."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._nodes
        self._nodes += self._sizes.get(event.anchor, 1) if self.check_event(yaml.AliasEvent) else 1
        if self._nodes > self.most:
            raise SpecError(
                f"line {event.start_mark.line + 1}: the spec has more than {self.most:,} values, those that aliases "
                f"stand for counted each time; make it shorter, or set {VARIABLE} in the environment to a higher limit"
            )
        if self._depth > DEEPEST:
            raise SpecError(
                f"line {event.start_mark.line + 1}: is nested deeper than {DEEPEST} levels; write it flatter"
            )
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._nodes - before
        return node

    def compose_mapping_node(self, anchor: dict[str, yaml.Node]) -> yaml.MappingNode:
        """Compose as usual, then compare the keys, before `<<` adds those of other mappings."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise SpecError(
                        f"line {key.start_mark.line + 1}: key {key.value!r} is given twice; keep one"
                    )
                seen.add(key.value)
        return node


def most_nodes() -> int:
    """The limit that the environment names, or `MOST_NODES`. Raises SpecError where it names no number."""
    named = os.environ.get(VARIABLE, str(MOST_NODES))
    if not named.isascii() or not named.isdecimal() or len(named) > 12:
        raise SpecError(f"{VARIABLE}={named[:40]}: must be a whole number below 10^12 in the environment")
    return int(named)


def read_yaml(path: Path) -> dict[str, object]:
    """The mapping in the YAML file at `path`.

    Raises:
        SpecError: no such file, not YAML, or not a mapping.
    """
    text = read_text(path, SpecError, "a spec is YAML in UTF-8")
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, object]:
    """The mapping in `text`; `where` names it in errors."""
    data = _yaml(text, where)
    if data is None:
        raise SpecError(f"{where}: is empty; a spec is a mapping of fields")
    if not isinstance(data, dict):
        raise SpecError(f"{where}: a spec is a mapping of fields, found {type(data).__name__}")
    return {**data}


@functools.lru_cache(maxsize=16)
def _loaded(text: str, most: int) -> object:
    """What `text` says. A lock is read many times while a run begins, and PyYAML takes 20 ms for it."""
    loader = _Loader(text, most)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _yaml(text: str, where: str) -> object:
    try:
        if len(text) > BYTES_A_NODE * (most := most_nodes()):
            size = f"has {len(text):,} characters, more than {BYTES_A_NODE} for each of {most:,} values"
            raise SpecError(
                f"{size}; make it shorter, or set {VARIABLE} in the environment to a higher limit"
            )
        return copy.deepcopy(_loaded(text, most))
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SpecError(f"{where}:{line} not valid YAML: {problem}") from None
    except (
        Exception
    ) as error:  # PyYAML lets the errors of its constructors pass: 2024-99-99, !!bool maybe, 9 MB of [
        problem = f"{type(error).__name__}: {str(error)[:99]}"
        raise SpecError(f"{where}: not valid YAML: {problem}") from None


def override(data: Mapping[str, object], assignments: Sequence[str]) -> dict[str, object]:
    """`data` with `key.path=value` assignments applied; values are read as YAML.

    Raises:
        SpecError: an assignment has no `=`, or its path leads through a value that has no fields.
    """
    return changed(data, read_assignments(assignments))


def read_assignments(words: Iterable[str]) -> list[tuple[str, object]]:
    """(dotted path, value) of each `key.path=value`; values are read as YAML.

    Raises:
        SpecError: a word has no `=` or no path.
    """
    changes = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not all(key.split(".")):
            raise SpecError(f"{word!r}: an override is written key.path=value, as in optimizer.lr=3e-4")
        changes.append((key, _yaml(value, key)))
    return changes


def changed(data: Mapping[str, object], changes: Iterable[tuple[str, object]]) -> dict[str, object]:
    """`data` with the values of `changes` put at their dotted paths, one after another.

    Raises:
        SpecError: a path leads through a value that has no fields.
    """
    try:
        result = {key: _copied(value) for key, value in data.items()}
    except RecursionError:
        raise SpecError("the spec contains itself, or is nested too deep; write it out") from None
    for key, value in changes:
        _assign(result, key.split("."), _copied(value), key)
    return result


def parse(data: Mapping[str, object], notes: str = "", *, began: bool = False) -> RunSpec:
    """The validated spec in `data`.

    Args:
        data: fields of a run.
        notes: lines on plugins that are not in use, quoted where a kind is asked for that nobody offers.
        began: whether a run began with it, so that fields without effect were accepted and are not refused later.

    Raises:
        SpecError: one readable error that names each offending path.
    """
    spec = parse_as(RunSpec, data, notes)
    check(spec, effects=None if began else "")
    return spec


def parse_as(cls: type[S], data: Mapping[str, object], notes: str = "") -> S:
    """The spec of class `cls` in `data`, its specs not yet asked for problems.

    Raises:
        SpecError: one readable error that names each offending path.
    """
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        raise spec_error(error, cls, notes) from None


def load(path: Path, assignments: Sequence[str] = (), notes: str = "") -> RunSpec:
    """The spec in the file at `path`, with overrides applied."""
    data = read_yaml(path)
    try:
        return parse(override(data, assignments), notes)
    except SpecError as error:
        hints = list(_new_names(data, assignments, str(error)))
        raise SpecError("\n".join([str(error), *hints])) from None


def _new_names(data: Mapping[str, object], assignments: Iterable[str], message: str) -> Iterator[str]:
    """Hints, beside `message`, on overrides of a view, net or objective that the file has by nearly that name only."""
    for key, _ in read_assignments(assignments):
        group, _, rest = key.partition(".")
        name, names = rest.partition(".")[0], data.get(group)
        if group in ("views", "nets", "objectives") and isinstance(names, Mapping) and name not in names:
            close = difflib.get_close_matches(name, [str(there) for there in names], n=1)
            if close and f"`{group}.{close[0]}`" not in message:
                yield f"{group}.{name}: is not in the file, which has `{group}.{close[0]}`; did you mean that?"


def similar_path(path: Path) -> str:
    """` Did you mean PATH?` of the name beside `path` that is most like it; empty where none is."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {path.parent / close[0]}?" if close else ""


def dump(spec: RunSpec, *, full: bool = False) -> str:
    """`spec` as YAML: what was set, or with `full` every field. Either loads to an equal spec."""
    data = spec.model_dump(mode="json", exclude_unset=not full)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _copied(value: object) -> object:
    match value:
        case Mapping():
            return {k: _copied(v) for k, v in value.items()}
        case list() | tuple():
            return [_copied(v) for v in value]
    return value


def _assign(target: object, keys: list[str], value: object, whole: str) -> None:
    """Set the value at `keys`, making mappings that are missing."""
    head, rest = keys[0], keys[1:]
    if isinstance(target, list):
        if not head.isdecimal() or int(head[:9]) >= len(target):
            raise SpecError(f"{whole}: {head!r} is not an index of a list of {len(target)}, counted from 0")
        if rest:
            _assign(target[int(head)], rest, value, whole)
        else:
            target[int(head)] = value
    elif isinstance(target, dict):
        if not rest:
            target[head] = value
            return
        if target.get(head) is None:
            target[head] = {}
        _assign(target[head], rest, value, whole)
    else:
        raise SpecError(f"{whole}: {head!r} leads into {target!r}, which has no fields")
