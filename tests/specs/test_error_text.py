"""Every broken spec gives one readable SpecError: what was wrong, where, and the way out."""

# ruff: noqa: E501 - messages stand whole

from __future__ import annotations

import datetime
import re
from copy import deepcopy
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sslkit import catalog
from sslkit.core.problem import Problem
from sslkit.errors import SpecError
from sslkit.specs.base import Spec
from sslkit.specs.check import problems
from sslkit.specs.error_text import SHOWN, spec_error, suggest
from sslkit.specs.families import MaskerField
from sslkit.specs.load import dump, parse, parse_yaml
from sslkit.specs.run import RunSpec
from sslkit.specs.walk import walk
from tests.specs.valid import small, valid

LOOP: list[Any] = []
LOOP.append(LOOP)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2**31, 10**400, 10**5000, 1.5, -0.0, 1e308, float("nan"), float("inf")]),
    st.sampled_from(
        ["", "high", "1e-4", "\ud800", "a.b", "x" * 5000, "\x00", "mae", "random", "0 epochs", "5epochs"]
    ),
    st.sampled_from([b"\xff", b"x", datetime.date(2024, 1, 1), {"a"}, frozenset(), object(), (), LOOP]),
    st.sampled_from([[], [None], [[]], [1, "a"], {}, {1: 2}, {None: None}, {"kind": 1}, {"kind": ["mae"]}]),
    st.sampled_from([{"kind": "mae"}, {"kind": "knn"}, {"start": 1}, {"start": "a", "end": {}}]),
    st.recursive(
        st.integers(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner)
    ),
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path inside `value`, as deep as specs go: junk may contain itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if len(path) > 6:
        return []
    return [p for key, item in items for p in [(*path, key), *_paths(item, (*path, key))]]


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """A valid spec after one to three mutations: delete, rename, retype or nest."""
    data = valid()
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(_paths(data) or [("name",)]))
        at = data
        for key in parents:
            at = at[key]
        if not isinstance(at, dict | list) or (isinstance(at, list) and last >= len(at)):
            continue
        how = draw(st.sampled_from(["delete", "rename", "retype", "nest"]))
        if how == "retype":
            at[last] = deepcopy(draw(JUNK))
        elif how == "nest":
            at[last] = draw(
                st.sampled_from(
                    [{"kind": at.get(last)} if isinstance(at, dict) else [], [at[last]], {1: at[last]}]
                )
            )
        elif how == "rename" and isinstance(at, dict):
            at[draw(st.sampled_from([str(last)[:-1], f"{last}s", 5, None, "kind"]))] = at.pop(last)
        else:
            del at[last]
    return data


@settings(max_examples=300, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(broken())
def test_three_hundred_broken_specs_each_give_one_readable_error(data: dict[str, Any]) -> None:
    said = complaint(data)
    assume(said is not None)  # what is still valid is not one of the three hundred
    lines = [line for line in str(said).splitlines() if not line.startswith("... and ")]
    heads = [re.fullmatch(r"(\S.*?): (\S.*)", line) for line in lines]
    assert all(heads), lines
    paths = [head[1] for head in heads if head]
    assert {path.split(".")[0] for path in paths} <= {
        "spec",
        *map(str, data),
        *map(repr, data),
        *RunSpec.model_fields,
    }
    assert len(set(paths)) == len(paths) <= SHOWN, f"a path is reported twice: {lines}"
    assert not re.search(r"pydantic|Input should|<class|Traceback|tagged-union|function-", str(said))


def complaint(data: dict[str, Any]) -> str | None:
    """What is wrong with `data`; None where nothing is, and then it survives being written and read."""
    try:
        spec = parse(data)
    except SpecError as error:
        return str(error)
    assert parse(parse_yaml(dump(spec), "dumped")) == spec
    return None


DELETED = object()
KINDS = {
    family: ", ".join(sorted(catalog.kinds(family))) + "." for family in ("masker", "objective", "augment")
}
CASES: list[tuple[str, Any, str]] = [
    (
        "objectives.main.masker.kind",
        "rnadom",
        "..: 'rnadom' is not a masker. Did you mean 'random'? Known: " + KINDS["masker"],
    ),
    (
        "views.global.augment.1.kind",
        DELETED,
        "..: is missing; it says which augment is meant. Known: " + KINDS["augment"],
    ),
    (
        "objectives.main.kind",
        ["mae"],
        "..: \"['mae']\" is not an objective. Did you mean 'mae'?",
    ),
    ("batch_size", DELETED, "..: is missing. Images per step, over all ranks and micro-batches."),
    (
        "views.global.size",
        DELETED,
        "..: is missing. Side of a crop, in pixels; `[height, width]` where they differ. Of symbols their number.",
    ),
    ("batch_size", "many", "..: must be a whole number, found 'many' (str)"),
    ("batch_size", 1.5, "..: must be a whole number, found 1.5 (float)"),
    ("bacth_size", 3, "..: is not a field of RunSpec. Did you mean 'batch_size'?"),
    (
        "views.global.sise",
        3,
        "..: is not a field of ViewSpec. Did you mean 'size'? Known: augment, by_crop, crops, crops_like, normalize, recipe, show, size, stream, transform.",
    ),
    ("optimizer.lr", "high", "..: must be a number, found 'high' (str)"),
    ("optimizer.lr", 0, "..: must be greater than 0, found 0 (int)"),
    (
        "optimizer.scale",
        "256",
        "..: '256' is not a choice. Did you mean '/256'? Known: /256, /512, absolute, sqrt/1024.",
    ),
    ("objectives.main.masker.ratio", 0, "..: must be greater than 0, found 0 (int)"),
    ("objectives.main.masker.ratio", 1, "..: must be less than 1, found 1 (int)"),
    ("objective", {"kind": "mae"}, "spec: give exactly one of `objective` and `objectives`"),
    ("objectives", {}, "spec: give exactly one of `objective` and `objectives`"),
    ("epochs", DELETED, "spec: give exactly one of `epochs` and `steps`"),
    ("steps", 5, "spec: give exactly one of `epochs` and `steps`"),
    (
        "readout.net",
        "techer",
        "..: 'techer' is not a net of this run. Did you mean 'teacher'? Known: student, teacher.",
    ),
    (
        "readout.view",
        "globl",
        "..: 'globl' is not a view of this run. Did you mean 'global'? Known: global, local. Or set `view` to null.",
    ),
    ("nets.student", {}, "..: is the trained backbone itself; choose another name"),
    ("data", "digits", "..: must be a mapping with `kind`, as in {kind: digits}, found 'digits' (str)"),
    ("data", None, "..: must be a mapping with `kind`, as in {kind: cifar10}, found nothing (null)"),
    ("optimizer", None, "..: must be a mapping of the fields of OptimizerSpec, found nothing (null)"),
    ("evaluate", {"kind": "knn"}, "..: must be a list, found {'kind': 'knn'} (dict)"),
    ("evaluate.0", None, "..: must be a mapping with `kind`, as in {kind: attention}, found nothing (null)"),
    ("evaluate.1.name", "knn", "..: 'knn' is taken; give this evaluation a `name` of its own"),
    (
        "evaluate.0.every",
        "5 hours",
        "..: must be 'end', or a count above 0 with its unit, as in '5 epochs' or '500 steps', found '5 hours' (str)",
    ),
    (
        "evaluate.0.every",
        "0epochs",
        "..: must be 'end', or a count above 0 with its unit, as in '5 epochs' or '500 steps', found '0epochs' (str)",
    ),
    (
        "checkpoint.every",
        "often",
        "..: must be 'end', or a count above 0 with its unit, as in '5 epochs' or '500 steps', found 'often' (str)",
    ),
    (
        "nets.teacher.momentum",
        "fast",
        "..: must be a number or a mapping of the fields of Ramp (start, end), found 'fast' (str)",
    ),
    ("nets.teacher.momentum.end", DELETED, "..: is missing. Value approached at `until`."),
    ("nets.teacher.momentum", 1.5, "..: must stay between 0 and 1, found 1.5"),
    (
        "optimizer.betas",
        [0.9],
        "optimizer.betas.1: is missing. Adam's moments (SimMIM and BEiT: 0.9, 0.999). Default: 0.9, 0.95 for `adamw` (MAE), else the optimizer's own.",
    ),
    ("optimizer.betas", [0.9, 1.0], "optimizer.betas.1: must stay from 0 to below 1, found 1.0"),
    ("optimizer.weight_decay", -1, "..: must not be below 0, found -1.0"),
    ("micro_batch_size", 10, "..: 10 does not divide `batch_size` 64"),
    ("name", "my run", "..: must match pattern '^[\\w.@-]+$', found 'my run' (str)"),
    ("seed", -1, "..: must be greater than or equal to 0, found -1 (int)"),
    ("workers", "four", "..: must be a whole number, found 'four' (str)"),
    ("compile.enabled", "perhaps", "..: must be true or false, found 'perhaps' (str)"),
    ("views", {}, "..: must have at least 1, found {} (dict)"),
    ("views", ["global"], "..: must be a mapping of names to values, found ['global'] (list)"),
    ("views", {1: {"size": 16}}, "views.1: must be text, found 1 (int)"),
    (
        "views.global.size",
        18,
        "backbone.patch: patch 4 does not divide the image size 18; use an image size of 16 or 20 (view 'global')",
    ),
    (
        "views.global.normalize",
        {"mean": [0.5, 0.5, 0.5], "std": [0.0]},
        "views.global.normalize.std: has 1 channels where `mean` has 3",
    ),
    (
        "balance.weights",
        {"mian": 2.0},
        "balance.weights.mian: is not an objective of this run. Known: main, small",
    ),
    ("backbone.heads", 5, "..: 5 heads do not divide the width 64"),
    (
        "objectives.main.view",
        "globe",
        "..: 'globe' is not a view of this run. Did you mean 'global'? Known: global, local.",
    ),
    ("log.loggers", [{"kind": "x"}], "log.loggers.0.kind: 'x' is not a logger. Known: tensorboard, wandb."),
    ("device", "gpu", "..: 'gpu' is not a choice. Did you mean 'cpu'? Known: auto, cpu, cuda, mps."),
    ("device", True, "..: True is not a choice. Known: auto, cpu, cuda, mps."),
    (
        "views.global.augment.1.kind",
        "flop",
        "..: 'flop' is not an augment. Did you mean 'flip'? Known: " + KINDS["augment"],
    ),
    (
        "views.global.augment.1",
        "flip",
        "..: must be a mapping with `kind`, as in {kind: flip}, found 'flip' (str)",
    ),
    ("optimizer.betas", [0.9, 0.9, 0.9], "..: must have at most 2, found [0.9, 0.9, 0.9] (list)"),
    (
        "lora",
        {"targets": ["kvq"]},
        "lora.targets.0: 'kvq' is not a choice. Did you mean 'qkv'? Known: mlp, proj, qkv.",
    ),
    ("lora", {"targets": []}, "lora.targets: must have at least 1, found [] (list)"),
    ("data.root", "/x", "..: is not a field of Digits. Known: kind, split_seed, test_share."),
    ("views.global.size", 2147483648, "..: must be less than 2147483648, found 2147483648 (int)"),
    ("out", [1], "..: must be a path, found [1] (list)"),
    ("views.local.size", 0, "..: must be greater than or equal to 1, found 0 (int)"),
]
"""(path, what is put there, message); `..` in a message stands for the path."""


def put(data: Any, path: str, value: Any) -> Any:
    """`data` with `value` at `path`."""
    *parents, last = path.split(".")
    at = data
    for key in parents:
        at = at[int(key)] if isinstance(at, list) else at[key]
    if value is DELETED:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return data


@pytest.mark.parametrize(("path", "value", "message"), CASES)
def test_message(path: str, value: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(put(valid(), path, value))
    assert str(caught.value) == (path + message[2:] if message.startswith("..") else message)


def test_several_errors_come_together_each_on_its_line_and_long_reports_are_cut() -> None:
    with pytest.raises(SpecError) as caught:
        parse(small(batch_size=0, epochs="x", data={"kind": "digits", "tset_share": 1}))
    assert str(caught.value).splitlines() == [
        "data.tset_share: is not a field of Digits. Did you mean 'test_share'? Known: kind, split_seed, test_share.",
        "batch_size: must be greater than or equal to 1, found 0 (int)",
        "epochs: must be a whole number, found 'x' (str)",
    ]
    with pytest.raises(SpecError) as caught:
        parse(small(**{f"x{i}": 1 for i in range(SHOWN + 5)}))
    lines = str(caught.value).splitlines()
    assert len(lines) == SHOWN + 1
    assert lines[-1] == "... and 5 more"


def test_an_error_inside_a_ramp_is_not_blamed_on_the_number() -> None:
    with pytest.raises(SpecError) as caught:
        parse(small(nets={"t": {"momentum": {"start": "a", "end": 1, "shape": "cubic"}}}))
    assert str(caught.value).splitlines() == [
        "nets.t.momentum.start: must be a number, found 'a' (str)",
        "nets.t.momentum.shape: 'cubic' is not a choice. Known: cosine, linear.",
    ]


def test_keys_that_are_not_names_are_quoted() -> None:
    with pytest.raises(
        SpecError, match=r"^'op timizer': is not a field of RunSpec. Did you mean 'optimizer'\?$"
    ):
        parse(small(**{"op timizer": {}}))
    with pytest.raises(SpecError, match=r"^5: must be text as every key; quote it, found 5 \(int\)$"):
        parse({**small(), 5: 1})


def test_values_too_large_to_show_are_not_shown() -> None:
    with pytest.raises(
        SpecError, match=r"^seed: must be less than \d+, found a value too large to show \(int\)$"
    ):
        parse(small(seed=10**5000))
    with pytest.raises(
        SpecError, match=r"^device: a value too large to show is not a choice. Known: auto, cpu"
    ):
        parse(small(device=10**5000))
    with pytest.raises(SpecError) as caught:
        parse(small(name=["x" * 1000]))
    assert str(caught.value) == f"name: must be text, found ['{'x' * 55}... (list)"


def test_failed_plugins_are_quoted_only_where_a_kind_is_unknown() -> None:
    notes = "Plugins that failed to load: sslkit-shapes:shapes (ImportError: no)"
    with pytest.raises(SpecError) as caught:
        parse(small(objective={"kind": "shapes"}), notes)
    assert str(caught.value).splitlines()[-1] == notes
    for other in (small(batch_size="many"), small(readout={"net": "techer"}), small(objective={})):
        with pytest.raises(SpecError) as caught:
            parse(other, notes)
        assert notes not in str(caught.value)


def test_a_family_without_any_kind_says_so_and_quotes_failed_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_providers", (lambda family: {}, lambda family: {}))

    class Lonely(Spec):
        masker: MaskerField

    with pytest.raises(SpecError, match=r"^Lonely.masker: no plugin offers any kind of masker$"):
        Lonely(masker={"kind": "random"})
    with pytest.raises(ValidationError) as caught:
        Lonely.model_validate({"masker": {"kind": "random"}})
    assert "x failed" in str(spec_error(caught.value, Lonely, "x failed"))
    assert Lonely.model_json_schema()["properties"]["masker"]["not"] == {}


def test_python_gives_the_same_errors_under_the_class_name() -> None:
    from sslkit import MAE, RandomMasker

    with pytest.raises(SpecError, match=r"^RandomMasker.ratio: must be less than 1, found 2 \(int\)$"):
        RandomMasker(ratio=2)
    with pytest.raises(SpecError, match=r"^MAE.masker.ratio: must be less than 1, found 2 \(int\)$"):
        MAE(masker={"kind": "random", "ratio": 2})
    with pytest.raises(SpecError, match=r"^RunSpec.batch_size: is missing. Images per step"):
        RunSpec(**{k: v for k, v in small().items() if k != "batch_size"})


def test_a_spec_error_raised_while_checking_gets_the_path_of_its_spec(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sslkit import RandomMasker

    spec = parse(small())

    def raises(self: RandomMasker, run: RunSpec) -> Any:
        raise SpecError("the ratio is odd")

    monkeypatch.setattr(RandomMasker, "problems", raises)
    assert list(problems(spec)) == [Problem("objective.masker", "the ratio is odd")]


def test_walk_visits_every_spec_once_with_its_path() -> None:
    paths = [path for path, _ in walk(parse(valid()))]
    assert len(paths) == len(set(paths))
    assert {
        "",
        "views.global.augment.1",
        "nets.teacher.momentum",
        "objectives.main.masker",
        "evaluate.1",
    } <= set(paths)
    assert "views.local.normalize" in paths, "defaults are visited too"


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("rnadom", ["random", "block"], "Did you mean 'random'? Known: block, random."),
        ("zzz", ["random"], "Known: random."),
        ("x", [], "None is known."),
        ("n5", [f"n{i}" for i in range(50)], "Did you mean 'n5'?"),
        ("", ["b", "a"], "Known: a, b."),
    ],
)
def test_suggest(word: str, known: list[str], said: str) -> None:
    assert suggest(word, known) == said


def test_literals_of_numbers_and_kinds_of_the_wrong_type() -> None:
    class Choice(Spec):
        channels: Literal[1, 3] = 3

    with pytest.raises(SpecError, match=r"^Choice.channels: 2 is not a choice. Known: 1, 3.$"):
        Choice(channels=2)
