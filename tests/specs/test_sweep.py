"""Sweeps: axes, rows, names, and every cell valid before any runs."""

from __future__ import annotations

import math
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit.specs.sweep import MOST, Grid, SweepSpec, grid, read_axes, read_sweep_spec
from tests import tiny

ITSELF: list[object] = []
ITSELF.append(ITSELF)
FOLDER = re.compile(r"[^\W_][\w.@-]*")
"""What a folder may be called without quotes, on any system."""


def made(rows=None, axes=None, **fields) -> Grid:
    return grid(SweepSpec(name="mine", base=tiny.fields(), rows=rows or {}, axes=axes or {}, **fields))


def names(found: Grid) -> list[str]:
    return [cell.name for cell in found.cells]


def refused(*arguments, **fields) -> str:
    with pytest.raises(SpecError) as error:
        made(*arguments, **fields)
    return str(error.value)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("seed=0,1,2", (0, 1, 2)),
        ("seed=0", (0,)),
        ("balance.kind=fixed,uncertainty,pcgrad", ("fixed", "uncertainty", "pcgrad")),
        ("optimizer.betas=[0.9,0.95],[0.9,0.999]", ([0.9, 0.95], [0.9, 0.999])),
        ("balance={kind: fixed},{kind: pcgrad, space: features}",
         ({"kind": "fixed"}, {"kind": "pcgrad", "space": "features"})),
        ('data.root="a,b",c d', ("a,b", "c d")),
        ("a.b=null,true,1.5", (None, True, 1.5)),
        ("data.root=a=b", ("a=b",)),
        ("a=", ()),
    ],
)  # fmt: skip
def test_axes_are_yaml_lists_inside(word, expected):
    assert read_axes([word]) == {word.split("=")[0]: expected}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed"], "'seed': an axis is written key.path=v1,v2"),
        (["=1"], "an axis is written"),
        (["a..b=1"], "an axis is written"),
        (["seed=0", "seed=1"], "seed: is given twice; write all values after one seed="),
        (["seed=0],[1"], "seed: '0],[1' is no list of YAML values. Quote a value"),
        (["seed=0]\nother: [1"], "is no list of YAML values"),
        (["a={b"], "is no list of YAML values"),
        (["a=1 # 2"], "is no list of YAML values"),
    ],
)
def test_words_that_are_no_axis_are_refused(words, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        read_axes(words)


def test_every_row_meets_every_value_seed_by_seed():
    """A sweep that was cut short has every setting with the first seed."""
    found = made(
        {"half": {}, "most": {"objective.masker.ratio": 0.75}}, {"seed": (0, 1), "batch_size": (16, 32)}
    )
    assert names(found) == [
        "half__batch_size-16__seed-0", "half__batch_size-32__seed-0",
        "most__batch_size-16__seed-0", "most__batch_size-32__seed-0",
        "half__batch_size-16__seed-1", "half__batch_size-32__seed-1",
        "most__batch_size-16__seed-1", "most__batch_size-32__seed-1",
    ]  # fmt: skip
    last = found.cells[-1]
    assert last.setting == last.spec.name == "most__batch_size-32"
    assert dict(last.values) == {"row": "most", "batch_size": 32, "seed": 1}
    assert (last.spec.seed, last.spec.batch_size) == (1, 32)
    assert last.spec.objective.masker.ratio == 0.75
    assert str(last.spec.run_dir) == "runs/mine/most__batch_size-32__seed-1"


def test_a_cell_is_the_run_of_its_overrides():
    cell = made(axes={"optimizer.lr": (0.1, 0.2)}).cells[1]
    fields = tiny.fields(optimizer={"lr": 0.2}, name=cell.setting, out=str(cell.spec.out))
    assert cell.spec == parse(fields)


def test_changes_apply_in_the_order_that_is_documented():
    """The base, `set`, the row, the axes, and what comes last."""
    sweep = SweepSpec(
        base=tiny.fields(),
        set={"batch_size": 8, "steps": 1, "objective.masker.ratio": 0.25},
        rows={"row": {"steps": 2, "objective.masker": {"kind": "random"}}},
        axes={"objective.masker.ratio": (0.5,)},
    )
    with pytest.raises(SpecError, match=r"axes\.objective\.masker\.ratio: is set by `set` too"):
        grid(sweep)
    sweep = sweep.model_copy(update={"set": {"batch_size": 8, "steps": 1}})
    (cell,) = grid(sweep, last=[("batch_size", 4)]).cells
    assert (cell.spec.batch_size, cell.spec.steps, cell.spec.objective.masker.ratio) == (4, 2, 0.5)
    assert cell.name == "row__ratio-0.5", "what comes last is in no name"


def test_rows_do_not_reach_into_each_other():
    """Values that rows share, as YAML anchors make them, are copied before axes change them."""
    shared = {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER}
    rows = {"a": {"objective": shared, "objective.masker.ratio": 0.25}, "b": {"objective": shared}}
    a, b = made(rows).cells
    assert (a.spec.objective.masker.ratio, b.spec.objective.masker.ratio) == (0.25, 0.5)
    assert shared["masker"]["ratio"] == 0.5


def test_without_other_axes_than_the_seed_the_setting_is_the_sweep():
    found = made(axes={"seed": (4, 2)})
    assert names(found) == ["seed-4", "seed-2"]
    assert {cell.setting for cell in found.cells} == {"mine"}


def test_paths_are_as_short_as_tells_them_apart():
    axes = {"objective.kind": ("mae",), "data.kind": ("digits",), "evaluate.0.k": (5, 10), "seed": (0,)}
    fields = tiny.fields(evaluate=[{"kind": "knn"}])
    found = grid(SweepSpec(base=fields, axes=axes))
    assert names(found)[0] == "objective.kind-mae__data.kind-digits__k-5__seed-0"


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0.001, "0.001"), ("1e-3", "1e-3"), (True, "true"), (None, "null"), ("normalized_pixel", "normalized_pixel"),
        (-3, "-3"),
    ],
)  # fmt: skip
def test_plain_values_are_named_as_they_are_written(value, label):
    assert one_name(value) == f"x-{label}"


@pytest.mark.parametrize(
    ("value", "begin"),
    [
        ([0.9, 0.95], "x-0.9-0.95@"), ({"kind": "random"}, "x-kind-random@"), ("a/b c", "x-a-b-c@"), ("", "x-@"),
        ("true", "x-true@"), ("a__b", "x-a_b@"), ("é" * 50, "x-" + "é" * 32 + "@"), ("../..", "x-@"),
    ],
)  # fmt: skip
def test_others_are_told_apart_by_a_hash(value, begin):
    name = one_name(value)
    assert re.fullmatch(re.escape(begin) + r"[0-9a-f]{8}", name)
    assert name == one_name(value), "it stays the same"


def one_name(value) -> str:
    """The name that an axis `x` gives to `value`, whatever a spec says to it."""
    try:
        return made(axes={"log.x": (value,)}).cells[0].name
    except SpecError as error:
        return str(error).splitlines()[2].removeprefix("    in ")


def test_long_names_are_cut_and_stay_apart():
    axes = {f"optimizer.{'x' * 40}{i}": ("a" * 40, "b" * 40) for i in range(4)}
    message = refused(axes=axes)
    listed = [
        name for line in message.splitlines() if line.startswith("    in ") for name in line[7:].split(", ")
    ]
    assert all(len(name.split(" and ")[0]) <= 150 for name in listed)
    assert len(set(listed[:8])) == 8


VALUES = st.one_of(
    st.integers(-3, 30), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(),
    st.text("aA_-./é @#,", max_size=6), st.lists(st.integers(0, 3), max_size=3),
)  # fmt: skip


@given(st.lists(VALUES, min_size=1, max_size=5), st.lists(VALUES, min_size=1, max_size=4))
@settings(max_examples=60)
def test_names_are_unique_stable_and_fit_for_folders(first, second):
    """Over odd values of every kind; spec fields that take them are not needed for names."""
    from sslkit.specs.sweep import _choices

    axes = {"a.x": tuple(first), "a.y": tuple(second), "seed": (0, 1)}
    sweep = SweepSpec(base={}, rows={"one": {}, "t_w.o": {}}, axes=axes)
    found = _choices(sweep)
    assert len(found) == 2 * len(first) * len(second) * 2
    by_name = {}
    for choice in found:
        assert FOLDER.fullmatch(choice.name), choice.name
        assert len(choice.name.encode()) < 255
        by_name.setdefault(choice.name, []).append(repr(sorted(choice.values.items(), key=str)))
    for told in by_name.values():
        assert len(set(told)) == 1, "one name, one choice"
    assert [c.name for c in _choices(sweep)] == [c.name for c in found]
    alone = _choices(sweep.model_copy(update={"axes": {**axes, "a.x": axes["a.x"][:1]}}))
    assert {c.name for c in alone} <= set(by_name), "names do not depend on the other values"


FIELDS = st.sampled_from(["batch_size", "steps", "seed"])


@given(
    st.dictionaries(FIELDS, st.sets(st.integers(1, 9), min_size=1, max_size=3), min_size=1), st.integers(0, 2)
)
@settings(max_examples=25)
def test_a_grid_has_every_combination_once(axes, rows):
    ordered = {key: tuple(sorted(values)) for key, values in axes.items()}
    named = {f"row{i}": {"optimizer.lr": 0.1 * (i + 1)} for i in range(rows)}
    found = made(named, ordered)
    assert len(found.cells) == math.prod(len(v) for v in ordered.values()) * max(rows, 1)
    combinations = {(*(getattr(c.spec, key) for key in ordered), c.spec.optimizer.lr) for c in found.cells}
    assert len(combinations) == len(found.cells) == len(set(names(found)))
    for cell in found.cells:
        assert all(getattr(cell.spec, key) == cell.values[key] for key in ordered)


def test_every_wrong_cell_is_told_at_once():
    message = refused(axes={"seed": (0, "x"), "optimizer.lr": (0.1, "high")})
    assert message.splitlines() == [
        "3 cells are wrong, so none was started:",
        "  optimizer.lr: must be a number, found 'high' (str)",
        "    in lr-high__seed-0, lr-high__seed-x",
        "  seed: must be a whole number, found 'x' (str)",
        "    in lr-0.1__seed-x, lr-high__seed-x",
    ]


def test_what_specs_say_of_each_other_is_asked_too():
    message = refused({"fine": {}, "lost": {"readout.net": "ema"}})
    assert "1 cell is wrong" in message
    assert "readout.net: 'ema' is not a net of this run" in message
    assert message.endswith("in lost")


def test_long_lists_of_errors_are_cut():
    message = refused(axes={"seed": tuple(f"bad{i}" for i in range(12))})
    assert message.endswith("... and 4 more errors")
    message = refused({"row": {"steps": "many"}}, {"seed": tuple(range(12))})
    assert message.endswith("row__seed-7 and 4 more")


@pytest.mark.parametrize(
    ("rows", "axes", "message"),
    [
        ({}, {}, "there is nothing to sweep"),
        ({"a/b": {}}, {}, "rows.a/b: names a folder"),
        ({"_a": {}}, {}, "rows._a: names a folder"),
        ({"a__b": {}}, {}, "rows.a__b: names a folder"),
        ({"..": {}}, {}, "rows...: names a folder"),
        ({"a": {"out": "x"}}, {}, "rows.a: 'out' is the sweep's to set"),
        ({}, {"name": ("a", "b")}, "axes.name: is the sweep's to set"),
        ({}, {"seed": ()}, "axes.seed: has no values"),
        ({}, {"seed": (0, 1, 0)}, "axes.seed: 0 is given twice"),
        ({"a": {"seed": 3}}, {"seed": (0,)}, "axes.seed: is set by rows.a too"),
        ({}, {"seed": tuple(range(MOST + 1))}, "has 10,001 cells, more than 10,000"),
        ({"a": {}, "b": {}}, {}, "a and b are the same run: leave one of the two out"),
        ({}, {"optimizer.lr": ("1e-3", 0.001)}, "lr-1e-3 and lr-0.001 are the same run"),
        (
            {},
            {"objective": ({1: "a", "b": 2},)},
            "axes.objective: values are numbers, text, lists, and mappings",
        ),
        ({}, {"objective": (ITSELF,)}, "axes.objective: values are numbers, text"),
        ({}, {"seed.deep": (1,)}, "leads into 3, which has no fields"),
    ],
)
def test_sweeps_that_make_no_sense_are_refused(rows, axes, message):
    assert message in refused(rows, axes)


@pytest.mark.parametrize("rows", [{}, {"a": {}}])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, "axes.seed: is set by `set` too; leave one of the two out"),
        ({"out": "there"}, "set: 'out' is the sweep's to set; leave it out"),
        ({"name": "mine"}, "set: 'name' is the sweep's to set; leave it out"),
    ],
)
def test_changes_of_every_cell_that_would_be_lost_are_refused(rows, changes, message):
    assert refused(rows, {"seed": (0, 1)}, set=changes) == message


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("name", "--set name: is the sweep's to set"),
        ("out", "--set out: is the sweep's to set; leave it out, or choose its folder with --out"),
        ("optimizer.lr", "--set optimizer.lr: would undo the axis optimizer.lr; leave one of the two out"),
        ("optimizer", "--set optimizer: would undo the axis optimizer.lr"),
    ],
)
def test_last_changes_that_make_names_untrue_are_refused(key, message):
    """A cell called lr-0.1 has that learning rate."""
    sweep = SweepSpec(base=tiny.fields(), axes={"optimizer.lr": (0.1,)})
    with pytest.raises(SpecError, match=re.escape(message)):
        grid(sweep, last=[(key, 0.5)])
    assert names(grid(sweep, last=iter([("optimizer.betas", [0.8, 0.9])]))) == ["lr-0.1"]


def test_a_file_of_rows_names_its_base_as_seen_from_it(tmp_path):
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "base.yaml").write_text(yaml.safe_dump(tiny.fields()))
    path = tmp_path / "specs" / "masks.yaml"
    path.write_text("base: base.yaml\nrows: {a: {batch_size: 8}}\naxes: {seed: [0, 1]}\nout: there\n")
    found = grid(read_sweep_spec(path))
    assert (found.name, str(found.folder)) == ("masks", "there")
    assert names(found) == ["a__seed-0", "a__seed-1"]
    path.write_text(yaml.safe_dump({"name": "n", "base": tiny.fields(), "axes": {"seed": [5]}}))
    found = grid(read_sweep_spec(path))
    assert (found.name, str(found.folder), names(found)) == ("n", "runs/n", ["seed-5"])


def test_a_spec_of_one_run_is_the_base_of_a_sweep(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(tiny.fields()))
    found = read_sweep_spec(path)
    assert found.name == "tiny-sweep"
    assert dict(found.base) == tiny.fields()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: {a: {}}", "base: is missing"),
        ("base: nowhere.yaml\nrows: {a: {}}", "nowhere.yaml: cannot be read"),
        ("base: {}\nrows: {a: 3}", "rows.a: must be a mapping"),
        ("base: {}\naxes: {seed: 3}", "axes.seed: must be a list"),
        ("base: {}\nrow: {a: {}}", "row: "),
        ("base: {}\nname: a b\naxes: {seed: [1]}", "name: "),
        ("base: 3\naxes: {seed: [1]}", "base: "),
    ],
)
def test_files_that_are_wrong_are_told_so(tmp_path, text, message):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=re.escape(message)):
        read_sweep_spec(path)
