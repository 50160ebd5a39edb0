"""Fields that may change when a run is resumed, and the effect of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sslkit.specs.base import Spec
from sslkit.specs.walk import children

FREE: Mapping[str, str] = {
    "out": "nothing: the run is where its folder is",
    "name": "names in logs and summaries",
    "workers": "nothing but speed",
    "resident": "nothing but speed and memory",
    "augment_on": "nothing but speed",
    "max_corrupt": "when the run stops on unreadable images",
    "max_duplicates": "when the run is refused for test images that are training images",
    "max_parts": "nothing: it is a limit",
    "log": "what is recorded",
    "checkpoint": "what is saved and kept",
    "evaluate": "what is measured from then on",
    "device": "low bits of results",
    "compile": "low bits of results",
    "parallel": "low bits of results",
    "micro_batch_size": "low bits of results; more with dropout and with batch norm in mode `local`",
}
"""Field -> what a change of it does. Any other makes another run, but `data`, which is held against its content."""
LENGTH = ("epochs", "steps", "extended")
"""Fields that change only where a finished run is made longer."""
DATA = "data"
Changes = Mapping[str, tuple[object, object]]
"""Dotted path -> the value then and now."""


def changes(
    then: Mapping[str, object], now: Mapping[str, object], path: str = ""
) -> Iterator[tuple[str, tuple[object, object]]]:
    """(dotted path, (then, now)) of the values in which two dumped specs differ; lists count as a whole."""
    for key in dict.fromkeys([*then, *now]):
        one, two, place = then.get(key), now.get(key), f"{path}.{key}" if path else key
        if isinstance(one, Mapping) and isinstance(two, Mapping) and one.get("kind") == two.get("kind"):
            yield from changes(one, two, place)
        elif one != two:
            yield place, (one, two)


def other_run(changed: Changes, free: Sequence[str] = ()) -> list[str]:
    """The fields among those changed that make another run; `free`: paths that do not, beside the table."""
    wrong = (path for path in changed if path not in free and path.split(".")[0] not in (*FREE, DATA))
    return list(dict.fromkeys(path.split(".")[0] for path in wrong))


def file_paths(spec: Spec) -> dict[str, Path]:
    """Dotted path -> each file or folder that `spec` names, alone or in a list, its own folder aside."""
    return {path: value for path, value in _inside(spec, "") if isinstance(value, Path) and path != "out"}


def _inside(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Every value inside `value`, with its dotted path."""
    for key, part in children(value):
        place = f"{path}.{key}" if path else str(key)
        yield place, part
        yield from _inside(part, place)
