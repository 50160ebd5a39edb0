"""Sweep specs: a grid of runs out of one spec, named rows of changes times axes of values. Torch-free."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple, cast, final

from pydantic import Field

from sslkit.errors import SpecError
from sslkit.specs.base import Spec
from sslkit.specs.load import changed, parse, parse_as, parse_yaml, read_yaml
from sslkit.specs.run import RunSpec

MOST = 10_000
"""Cells of a sweep; past it a comma was mistaken for a point."""
SHOWN = 8
"""Different errors that are listed."""
LONGEST = 150
"""Characters of a cell's name; what is longer is cut and told apart by a hash."""
OWN = ("name", "out")
"""Fields of a run that the sweep sets."""
_PLAIN = re.compile(r"[\w.-]{1,40}")


@final
class SweepSpec(Spec):
    """Many runs out of one spec: every row of changes, with every combination of the axes' values."""

    name: str | None = Field(None, min_length=1, pattern=r"^[\w.@-]+$")
    """Name of the sweep. Default: that of its file."""
    out: Path | None = None
    """Folder of the run folders and of the table. Default: `runs/NAME`."""
    base: Path | Mapping[str, object]
    """The spec that all cells begin with: its file, seen from the sweep's, or its fields."""
    set: Mapping[str, object] = {}
    """Changes of every cell: dotted path -> value. They come first."""
    rows: Mapping[str, Mapping[str, object]] = {}
    """Named variants: name -> dotted path -> value. They come after `set`."""
    axes: Mapping[str, tuple[object, ...]] = {}
    """Dotted path -> the values to try. They come after the row."""


class Cell(NamedTuple):
    """One run of a sweep."""

    name: str
    """Its folder inside the sweep's."""
    setting: str
    """The name without the seed; cells that share it differ in nothing else."""
    values: Mapping[str, object]
    """`row` -> its name, where there are rows, and each axis -> its value."""
    spec: RunSpec


class Grid(NamedTuple):
    """Every cell of a sweep, each with a valid spec."""

    name: str
    folder: Path
    cells: tuple[Cell, ...]
    """In the order in which they run: all settings with the first seed, then all with the next."""


def read_sweep_spec(path: Path) -> SweepSpec:
    """The sweep in the file at `path`, or the spec of one run there as the base of a sweep.

    Raises:
        SpecError: the file cannot be read or is neither.
    """
    data = read_yaml(path)
    if not data.keys() & {"base", "rows", "axes"}:
        return SweepSpec(name=f"{data.get('name', 'run')}-sweep", base=data)
    spec = parse_as(SweepSpec, data)
    base = spec.base if isinstance(spec.base, Mapping) else read_yaml(path.parent / spec.base)
    return spec.model_copy(update={"base": base, "name": spec.name or path.stem})


def read_axes(words: Sequence[str]) -> dict[str, tuple[object, ...]]:
    """Axes as they are written on a command line: `key.path=v1,v2,...`, where the right side is a YAML list inside.

    Commas inside brackets, braces and quotes belong to a value: `key=[1, 2],[3, 4]` has two.

    Raises:
        SpecError: a word is no axis, or an axis is given twice.
    """
    axes: dict[str, tuple[object, ...]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not all(key.split(".")):
            raise SpecError(f"{word!r}: an axis is written key.path=v1,v2,..., as in seed=0,1,2")
        if key in axes:
            raise SpecError(f"{key}: is given twice; write all values after one {key}=")
        axes[key] = _values(key, text)
    return axes


def _values(key: str, text: str) -> tuple[object, ...]:
    try:
        fields = parse_yaml(f"values: [{text}]", key)
    except SpecError:
        fields = {}
    values = fields.get("values")
    if len(fields) != 1 or not isinstance(values, list):
        raise SpecError(
            f"{key}: {text!r} is no list of YAML values. Quote a value that has a comma, a bracket or a `#` "
            f'of its own, as in {key}=\'"a,b","c"\''
        )
    return tuple(values)


def grid(sweep: SweepSpec, notes: str = "", last: Iterable[tuple[str, object]] = ()) -> Grid:
    """Every cell of `sweep`, all validated.

    Args:
        sweep: with its base read.
        notes: lines on plugins that are not in use.
        last: (dotted path, value) of changes of every cell that come after all others and are in no name.

    Raises:
        SpecError: one error that names every cell that is wrong, or what is wrong with rows and axes.
    """
    last = tuple(last)
    _require_sound(sweep, last)
    name = sweep.name or "sweep"
    folder = sweep.out or Path("runs") / name
    cells: list[Cell] = []
    wrong: dict[str, list[str]] = {}
    for choice in _choices(sweep):
        base = cast("Mapping[str, object]", sweep.base)
        changes = [*sweep.set.items(), *choice.changes, *last, ("name", choice.setting or name)]
        try:
            spec = parse(changed(base, [*changes, ("out", str(folder / choice.name))]), notes)
        except SpecError as error:
            for line in str(error).splitlines():
                wrong.setdefault(line, []).append(choice.name)
        else:
            cells.append(Cell(choice.name, choice.setting or name, choice.values, spec))
    if wrong:
        raise SpecError(_report(wrong))
    _require_different(cells)
    return Grid(name, folder, tuple(cells))


class _Choice(NamedTuple):
    """A row with one value of each axis."""

    name: str
    setting: str
    values: Mapping[str, object]
    changes: Sequence[tuple[str, object]]


def _choices(sweep: SweepSpec) -> list[_Choice]:
    """Seeds change slowest, so that a sweep that was cut short has every setting."""
    short = dict(zip(sweep.axes, _short(tuple(sweep.axes)), strict=True))
    keys = sorted(sweep.axes, key=lambda key: key != "seed")
    choices = []
    rows: Mapping[str, Mapping[str, object]] = sweep.rows or {"": {}}
    seeds = sweep.axes.get("seed", (None,))
    others = [key for key in keys if key != "seed"]
    combinations = list(product(*(sweep.axes[key] for key in others)))
    for seed, row, rest in product(seeds, rows, combinations):
        values = dict(zip(others, rest, strict=True)) | ({"seed": seed} if "seed" in sweep.axes else {})
        parts = [f"{short[key]}-{_label(values[key])}" for key in others]
        setting = _cut("__".join([*([row] if row else []), *parts]))
        seeded = [f"seed-{_label(seed)}"] if "seed" in sweep.axes else []
        name = "__".join([*([setting] if setting else []), *seeded])
        named = {"row": row, **values} if row else values
        choices.append(_Choice(name, setting, named, [*rows[row].items(), *values.items()]))
    return choices


def _require_sound(sweep: SweepSpec, last: Iterable[tuple[str, object]]) -> None:
    """Pass where rows and axes make sense before any cell is looked at."""
    problems = [*_odd_rows(sweep), *_odd_changes(sweep, last), *_odd_axes(sweep)]
    if not sweep.rows and not sweep.axes:
        problems = ["there is nothing to sweep: give axes, as in seed=0,1,2, or a file with `rows` or `axes`"]
    if problems:
        raise SpecError("\n".join(problems))


def _odd_rows(sweep: SweepSpec) -> Iterator[str]:
    for row, changes in sweep.rows.items():
        if not re.fullmatch(r"[^\W_][\w.-]*", row) or "__" in row or row.endswith("_"):
            yield (
                f"rows.{row}: names a folder, so it has letters, digits, `.`, `-` and single `_`, "
                "and begins with a letter or a digit"
            )
        for key in changes:
            if key in sweep.axes:
                yield f"axes.{key}: is set by rows.{row} too; leave one of the two out"
            if key in OWN:
                yield f"rows.{row}: {key!r} is the sweep's to set; leave it out"


def _odd_changes(sweep: SweepSpec, last: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Of every cell: what an axis or the sweep itself sets would be lost, or the cells' names untrue."""
    for key in sweep.set:
        if key in sweep.axes:
            yield f"axes.{key}: is set by `set` too; leave one of the two out"
        if key in OWN:
            yield f"set: {key!r} is the sweep's to set; leave it out"
    for key, _ in last:
        if key in OWN:
            yield f"--set {key}: is the sweep's to set; leave it out, or choose its folder with --out"
        for axis in sweep.axes:
            if f"{axis}.".startswith(f"{key}."):
                yield f"--set {key}: would undo the axis {axis}; leave one of the two out"


def _odd_axes(sweep: SweepSpec) -> Iterator[str]:
    for key, values in sweep.axes.items():
        if key in OWN:
            yield f"axes.{key}: is the sweep's to set; leave it out"
        if not values:
            yield f"axes.{key}: has no values"
        try:
            texts = [_canonical(value) for value in values]
        except (TypeError, ValueError):  # of mixed keys, or of what contains itself
            raise SpecError(
                f"axes.{key}: values are numbers, text, lists, and mappings with text as keys"
            ) from None
        for twice in sorted(text for text, count in Counter(texts).items() if count > 1):
            yield f"axes.{key}: {twice} is given twice"
    cells = math.prod(map(len, sweep.axes.values())) * max(len(sweep.rows), 1)
    if cells > MOST:
        yield f"the sweep has {cells:,} cells, more than {MOST:,}; make it of smaller ones"


def _report(wrong: Mapping[str, Sequence[str]]) -> str:
    """Errors, each with the cells that have it."""
    count = len({name for names in wrong.values() for name in names})
    lines = [f"{count} {'cells are' if count > 1 else 'cell is'} wrong, so none was started:"]
    for error, names in list(wrong.items())[:SHOWN]:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"  {error}\n    in {', '.join(names[:SHOWN])}{more}")
    return "\n".join(lines + ([f"  ... and {len(wrong) - SHOWN} more errors"] if len(wrong) > SHOWN else []))


def _require_different(cells: Sequence[Cell]) -> None:
    """Pass where no two cells are one run, or share a folder."""
    runs: dict[str, str] = {}
    names: set[str] = set()
    for cell in cells:
        content = _canonical(cell.spec.model_dump(mode="json", exclude=set(OWN)))
        if content in runs:
            raise SpecError(f"{runs[content]} and {cell.name} are the same run: leave one of the two out")
        if cell.name in names:
            raise SpecError(f"two cells would be called {cell.name}; make rows of them, with names")
        runs[content] = cell.name
        names.add(cell.name)


def _short(keys: Sequence[str]) -> list[str]:
    """The last parts of dotted paths, as many as tell them apart."""

    def tails(key: str) -> list[str]:
        parts = key.split(".")
        return [".".join(parts[-n:]) for n in range(1, len(parts) + 1) if not parts[-n].isdecimal()] or [key]

    every = [set(tails(key)) for key in keys]
    return [
        next((tail for tail in tails(key) if all(tail not in o for o in every[:i] + every[i + 1 :])), key)
        for i, key in enumerate(keys)
    ]


def _label(value: object) -> str:
    """`value` as part of a name: as it is written where that is plain, else what is readable of it and a hash."""
    text = value if isinstance(value, str) else _canonical(value)
    plain = _PLAIN.fullmatch(text) and "__" not in text and text == text.strip("_")
    if plain and (not isinstance(value, str) or text not in {"null", "true", "false"}):
        return text
    return f"{_readable(text)[:32]}@{_digest(_canonical(value))}"


def _readable(text: str) -> str:
    return re.sub(r"_{2,}", "_", re.sub(r"[^\w.-]+", "-", text)).strip("-_.")


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 20].strip('-_.')}@{_digest(name)}"
