"""Specs from elsewhere: what a few lines could make large is counted before it is paid for."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from sslkit.cli.main import OK, USER_ERROR, main
from sslkit.errors import SpecError
from sslkit.specs import load as loading
from sslkit.specs.load import MOST_NODES, VARIABLE, dump, parse, parse_yaml, read_assignments, read_yaml
from sslkit.specs.sweep import SweepSpec, grid
from tests.damage import damaged_json, read_or_refused
from tests.specs.valid import small, valid

MESSAGE = (
    "the spec has more than {most:,} values, those that aliases stand for counted each time; make it shorter, or set "
    "SSLKIT_MAX_SPEC_NODES in the environment to a higher limit"
)


def nested(levels: int, width: int = 10, merged: bool = False) -> str:
    """A text whose aliases stand for `width` ** `levels` values."""
    lines = ["a0: &a0 {k: 1}" if merged else f"a0: &a0 [{', '.join('x' * width)}]"]
    for i in range(1, levels):
        names = ", ".join([f"*a{i - 1}"] * width)
        lines.append(f"a{i}: &a{i} {{<<: [{names}]}}" if merged else f"a{i}: &a{i} [{names}]")
    return "\n".join(lines)


@pytest.mark.parametrize("merged", [False, True])
def test_aliases_count_as_what_they_stand_for(merged: bool) -> None:
    text = nested(9, merged=merged)
    assert len(text) < 1000
    tracemalloc.start()
    try:
        with pytest.raises(SpecError) as caught:
            parse_yaml(text, "spec.yaml")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    line, message = str(caught.value).removeprefix("spec.yaml: line ").split(": ", 1)
    assert message == MESSAGE.format(most=MOST_NODES)
    assert int(line) < 9, "it stops where the limit is passed"
    assert peak < 10_000_000, "nothing is written out to be counted"


def test_the_count_is_that_of_the_text_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &a {x: [1, 2], y: 3}\nb: *a\nc: [*a, *a]"
    mapping = 7  # itself, x, the list, 1, 2, y, 3
    nodes = 1 + (1 + mapping) + (1 + mapping) + (1 + 1 + 2 * mapping)
    for most, passes in ((nodes, True), (nodes - 1, False)):
        monkeypatch.setenv(VARIABLE, str(most))
        outcome = read_or_refused(lambda: parse_yaml(text, "t"))
        assert isinstance(outcome, dict) == passes, (most, outcome)
    monkeypatch.setenv(VARIABLE, str(nodes - 1))
    assert MESSAGE.format(most=nodes - 1) in str(read_or_refused(lambda: parse_yaml(text, "t")))


def test_anchors_of_ordinary_specs_work(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
base: &view {size: 16, normalize: &n {mean: [0.5], std: [0.25]}}
views: {global: *view, local: {<<: *view, size: 8}, other: {size: 4, normalize: *n}}
"""
    data: Any = parse_yaml(text, "t")
    assert data["views"]["local"] == {"size": 8, "normalize": {"mean": [0.5], "std": [0.25]}}
    assert data["views"]["other"]["normalize"] == data["base"]["normalize"]


def test_what_contains_itself_is_an_error() -> None:
    for text in ("a: &a [*a]", "a: &a {b: {c: *a}}", "a: &a {<<: *a}"):
        message = read_or_refused(lambda text=text: parse(loading.override(parse_yaml(text, "t"), [])))
        assert isinstance(message, str), text


def test_values_on_the_command_line_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1000")
    values = "[" + ",".join(["1"] * 1001) + "]"
    with pytest.raises(SpecError, match="evaluate: line 1: the spec has more than 1,000 values"):
        read_assignments([f"evaluate={values}"])


@pytest.mark.parametrize("text", ["# a comment\n" * 100_000, "a: " + "x" * 1_100_000])
def test_long_texts_are_refused_before_they_are_parsed(text: str) -> None:
    start = time.process_time()
    with pytest.raises(
        SpecError, match=r"t: has 1,\d+,\d+ characters, more than 50 for each of 20,000 values; make"
    ):
        parse_yaml(text, "t")
    assert time.process_time() - start < 1


def test_the_environment_raises_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [" + ",".join(["1"] * MOST_NODES) + "]"
    monkeypatch.setattr(loading, "MOST_NODES", 100)
    short = "a: [" + ",".join(["1"] * 98) + "]"
    with pytest.raises(SpecError):
        parse_yaml(short, "t")
    monkeypatch.setenv(VARIABLE, "101")
    assert parse_yaml(short, "t")
    assert len(text) > MOST_NODES
    for wrong in ("many", "-1", "1e5", "9" * 20, ""):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(
            SpecError, match=r"^t: SSLKIT_MAX_SPEC_NODES=.*: must be a whole number below 10\^12"
        ):
            parse_yaml(short, "t")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_nesting_is_bounded(opening: str) -> None:
    with pytest.raises(SpecError, match=r"^t: line 1: is nested deeper than 100 levels; write it flatter$"):
        parse_yaml("a: " * (opening != "- ") + opening * 150, "t")
    assert parse_yaml("a: " + "[" * 90 + "]" * 90, "t")


def test_a_pipe_is_no_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "spec.yaml")
    assert main(["validate", str(tmp_path / "spec.yaml")]) == USER_ERROR
    assert capsys.readouterr().err.startswith(
        f"error: {tmp_path / 'spec.yaml'}: is a named pipe; expected a regular"
    )
    with pytest.raises(SpecError, match="/dev/null: is a device"):
        read_yaml(Path("/dev/null"))


def test_many_evaluators_take_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in labels that are looked at, which no other load of the machine changes."""
    counts = []
    for many in (100, 200):
        spec = parse(small(evaluate=[{"kind": "knn", "name": f"e{i}"} for i in range(many)]))
        compared = 0

        class Label(str):
            def __eq__(self, other: object) -> bool:
                nonlocal compared
                compared += 1
                return str.__eq__(self, other)

            __hash__ = str.__hash__

        for evaluator in spec.evaluate:
            object.__setattr__(evaluator, "name", Label(evaluator.name))
        assert list(spec.problems(spec)) == []
        counts.append(compared)
    assert counts[1] <= 2 * counts[0] + 100


def test_a_label_that_is_taken_is_named_once_for_each() -> None:
    with pytest.raises(SpecError) as caught:
        parse(
            small(evaluate=[{"kind": "knn"}, {"kind": "knn"}, {"kind": "knn", "name": "x"}, {"kind": "knn"}])
        )
    assert str(caught.value).splitlines() == [
        f"evaluate.{i}.name: 'knn' is taken; give this evaluation a `name` of its own" for i in (1, 3)
    ]


def test_objectives_and_nets_are_counted() -> None:
    terms = {f"o{i}": {"kind": "mae"} for i in range(40)}
    fields = {key: value for key, value in small(objectives=terms).items() if key != "objective"}
    message = r"^max_parts: there are 40 objectives and nets, more than 32, and each takes .*, or raise `max_parts`$"
    with pytest.raises(SpecError, match=message):
        parse(fields)
    assert len(parse({**fields, "max_parts": 40}).terms) == 40


def test_crops_are_bounded() -> None:
    with pytest.raises(
        SpecError, match=r"^views.global.crops: must be at most 1024|less than or equal to 1024"
    ):
        parse(small(views={"global": {"size": 8, "crops": 2**31 - 1}}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "nope"}, r"^compile\.backend: 'nope' is no backend. Known: .*aot_eager.*inductor"),
        ({"backend": "inductr"}, r"^compile\.backend: 'inductr' is no backend. Did you mean 'inductor'\?"),
        ({"mode": "max"}, r"^compile\.mode: 'max' is no mode of Inductor. .*max-autotune"),
    ],
)
def test_names_that_torch_would_refuse_at_the_first_step(changes: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(small(device="auto", compile=changes))


def test_backends_of_torch_and_of_packages_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from sslkit.specs import compilation

    for backend in compilation.BACKENDS:
        assert parse(small(device="auto", compile={"backend": backend})).compile.backend == backend
    added = [EntryPoint("mine", "package:function", "torch_dynamo_backends")]
    monkeypatch.setattr(compilation, "entry_points", lambda group: added)
    assert parse(small(device="auto", compile={"backend": "mine"})).compile.backend == "mine"


def test_the_names_that_are_known_are_torchs() -> None:
    """Read in its source: importing its compilers takes many seconds."""
    import torch

    from sslkit.specs.compilation import BACKENDS, MODES

    folder = Path(torch.__file__).parent
    source = "".join(path.read_text() for path in (folder / "_dynamo" / "backends").glob("*.py"))
    unknown = [name for name in BACKENDS if f'"{name}"' not in source and f"def {name}(" not in source]
    assert unknown == []
    modes = (folder / "_inductor" / "__init__.py").read_text()
    assert [mode for mode in MODES if f'"{mode}"' not in modes] == []


def test_axes_of_many_values_are_refused_quickly() -> None:
    sweep = SweepSpec(name="s", base=small(), axes={"seed": tuple(range(15_000))})
    start = time.process_time()
    with pytest.raises(SpecError, match="the sweep has 15,000 cells, more than 10,000"):
        grid(sweep)
    assert time.process_time() - start < 3, "no value is compared with all others"


def test_damaged_specs_are_read_right_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, codes = tmp_path / "spec.yaml", []
    for damage in damaged_json(valid(), seed=21, tries=120):
        path.write_bytes(damage.data)
        codes.append(main(["validate", str(path)]))
        assert codes[-1] in (OK, USER_ERROR), (damage.name, capsys.readouterr().err)
        assert "Traceback" not in capsys.readouterr().err
    assert codes.count(USER_ERROR) > 60
    path.write_text(dump(parse(valid())))
    assert main(["validate", str(path)]) == OK
