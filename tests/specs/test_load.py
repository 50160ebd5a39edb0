"""YAML in, YAML out, and overrides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslkit import (
    KNN,
    MAE,
    CheckpointSpec,
    Digits,
    LearningRateSchedule,
    NetSpec,
    Normalize,
    NormalizedPixel,
    OptimizerSpec,
    Pixel,
    Ramp,
    RandomMasker,
    RandomResizedCrop,
    Readout,
    RunSpec,
    SslkitError,
    ViewSpec,
    ViT,
)
from sslkit.errors import SpecError
from sslkit.specs.load import dump, load, override, parse, parse_yaml, read_yaml
from tests.specs.valid import small, valid

UNIT = st.floats(0.01, 0.99)
POSITIVE = st.floats(1e-12, 1e6, allow_subnormal=False)
NAMES = st.from_regex(r"[A-Za-z0-9_.@-]{1,8}", fullmatch=True)
KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,7}", fullmatch=True)
VALUES = UNIT | st.builds(Ramp, start=UNIT, end=UNIT, shape=st.sampled_from(["cosine", "linear"]), until=UNIT)
MASKERS = st.builds(RandomMasker, ratio=UNIT) | st.just(RandomMasker())
TARGETS = st.builds(Pixel, loss=st.sampled_from(["l1", "l2"])) | st.just(NormalizedPixel())
NORMALIZE = st.integers(1, 4).flatmap(
    lambda n: st.builds(Normalize, mean=st.tuples(*[UNIT] * n), std=st.tuples(*[UNIT] * n))
)
CROPS = st.builds(RandomResizedCrop, scale=st.tuples(UNIT, UNIT).map(sorted).map(tuple))
VIEWS = st.builds(
    ViewSpec,
    size=st.integers(1, 9).map(lambda n: 4 * n),
    crops=st.integers(1, 3),
    augment=st.lists(CROPS, max_size=2).map(tuple),
    normalize=NORMALIZE,
)
OBJECTIVES = st.builds(MAE, view=st.just("global"), masker=MASKERS, target=TARGETS)
PERIODS = st.builds("{} {}".format, st.integers(1, 10**9), st.sampled_from(["epochs", "steps"])) | st.just(
    "end"
)


@st.composite
def runs(draw: st.DrawFn) -> RunSpec:
    """A valid run, made in Python."""
    fields: dict[str, Any] = {
        "data": Digits(test_share=draw(UNIT.filter(lambda x: x <= 0.9))),
        "views": {"global": draw(VIEWS), **draw(st.dictionaries(KEYS, VIEWS, max_size=1))},
        "backbone": ViT(name="vit_tiny_patch16_224", patch=4),
        "batch_size": draw(st.integers(1, 4096)),
    }
    nets = draw(
        st.dictionaries(
            KEYS.filter(lambda name: name != "student"), st.builds(NetSpec, momentum=VALUES), max_size=8
        )  # of `max_parts`
    )
    fields["nets"] = nets
    fields["readout"] = Readout(net=draw(st.sampled_from(["student", *nets])), crop=draw(UNIT))
    objectives = draw(st.dictionaries(KEYS, OBJECTIVES, max_size=2))
    fields |= {"objectives": objectives} if objectives else {"objective": draw(OBJECTIVES)}
    fields |= draw(st.sampled_from([{"epochs": 3}, {"steps": 10}]))
    optional = {
        "name": NAMES,
        "seed": st.integers(0, 2**63 - 1),
        "out": NAMES.map(Path),
        "optimizer": st.builds(OptimizerSpec, lr=POSITIVE, weight_decay=VALUES, no_decay=st.tuples(NAMES)),
        "schedule": st.builds(LearningRateSchedule, warmup_epochs=st.none() | POSITIVE, final=POSITIVE),
        "precision": st.sampled_from([None, "float32", "bfloat16"]),
        "evaluate": st.tuples(
            st.builds(KNN, every=PERIODS, k=st.integers(1, 99), train=st.none() | st.just(Digits()))
        ),
        "checkpoint": st.builds(CheckpointSpec, every=PERIODS),
    }
    for name, values in optional.items():
        if draw(st.booleans()):
            fields[name] = draw(values)
    if "evaluate" in fields:
        best = draw(st.sampled_from([None, "eval/knn/accuracy"]))
        fields["checkpoint"] = CheckpointSpec(every=draw(PERIODS), best=best)
    return RunSpec(**fields)


@settings(max_examples=100)
@given(runs(), st.booleans())
def test_python_to_yaml_to_python_is_the_same_object(spec: RunSpec, full: bool) -> None:
    again = parse(parse_yaml(dump(spec, full=full), "dumped"), began=True)  # some fields have no effect
    assert again == spec
    assert hash(again) == hash(spec)
    assert dump(again, full=full) == dump(spec, full=full)


def test_yaml_and_python_say_the_same() -> None:
    text = """
    data: {kind: digits}
    views: {global: {size: 16}}
    backbone: {kind: vit, name: vit_tiny_patch16_224, patch: 4}
    objective: {kind: mae, masker: {kind: random, ratio: 0.6}, target: {kind: normalized_pixel}}
    optimizer: {lr: 1e-4, betas: [0.9, 0.999]}
    batch_size: 8
    epochs: 2
    """
    made = RunSpec(
        data=Digits(),
        views={"global": ViewSpec(size=16)},
        backbone=ViT(name="vit_tiny_patch16_224", patch=4),
        objective=MAE(masker=RandomMasker(ratio=0.6), target=NormalizedPixel()),
        optimizer=OptimizerSpec(lr=1e-4, betas=(0.9, 0.999)),
        batch_size=8,
        epochs=2,
    )
    assert parse(parse_yaml(text, "text")) == made, "PyYAML reads 1e-4 as text, the spec as a number"


def test_dump_says_what_was_set_and_full_says_everything() -> None:
    spec = parse(small())
    assert parse_yaml(dump(spec), "dumped") == small()
    full = parse_yaml(dump(spec, full=True), "dumped")
    assert set(full) == set(RunSpec.model_fields)
    assert full["objective"]["masker"] == {"kind": "random", "ratio": 0.75}
    assert parse(full) == spec


def test_dump_keeps_the_kinds_that_python_code_need_not_name() -> None:
    assert parse_yaml(dump(parse(small(objective=MAE(masker=RandomMasker())))), "dumped")["objective"] == {
        "kind": "mae",
        "masker": {"kind": "random"},
    }


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("optimizer.lr=3e-4", ("optimizer", "lr"), "3e-4"),
        ("optimizer.lr=0.0003", ("optimizer", "lr"), 0.0003),
        ("evaluate.1.k=5", ("evaluate", 1, "k"), 5),
        ("nets.other.momentum=0.9", ("nets", "other"), {"momentum": 0.9}),
        ("objectives.main.masker={kind: random, ratio: 0.6}", ("objectives", "main", "masker", "ratio"), 0.6),
        ("readout.view=", ("readout", "view"), None),
        ("name=a=b", ("name",), "a=b"),
        ("log.loggers=[]", ("log", "loggers"), []),
        ("views.global.normalize.mean.0=0.25", ("views", "global", "normalize", "mean", 0), 0.25),
    ],
)
def test_override(assignment: str, path: tuple[Any, ...], value: Any) -> None:
    before = valid()
    found: Any = override(before, [assignment])
    for key in path:
        found = found[key]
    assert found == value
    assert before == valid(), "the mapping that was given is not changed"


def test_overrides_apply_in_order_and_reach_the_run() -> None:
    spec = parse(override(valid(), ["optimizer.lr=1", "optimizer.lr=3e-4", "batch_size=128"]))
    assert (spec.optimizer.lr, spec.batch_size) == (3e-4, 128)


def test_an_override_leaves_other_uses_of_a_yaml_anchor_alone() -> None:
    data = parse_yaml("a: &x {size: 1}\nb: *x", "text")
    assert override(data, ["a.size=2"]) == {"a": {"size": 2}, "b": {"size": 1}}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.lr", "'optimizer.lr': an override is written key.path=value, as in optimizer.lr=3e-4"),
        ("=3", "'=3': an override is written key.path=value, as in optimizer.lr=3e-4"),
        ("a..b=3", "'a..b=3': an override is written key.path=value, as in optimizer.lr=3e-4"),
        ("name=[", "name: line 1: not valid YAML: expected the node content, but found '<stream end>'"),
        ("name={a: 1, a: 2}", "name: line 1: key 'a' is given twice; keep one"),
        ("name=2024-99-99", "name: not valid YAML: ValueError: month must be in 1..12"),
        ("evaluate.2.k=5", "evaluate.2.k: '2' is not an index of a list of 2, counted from 0"),
        ("evaluate.k=5", "evaluate.k: 'k' is not an index of a list of 2, counted from 0"),
        ("epochs.x=5", "epochs.x: 'x' leads into 4, which has no fields"),
        ("log.every.0.k=5", "log.every.0.k: '0' leads into 5, which has no fields"),
    ],
)  # fmt: skip
def test_broken_override(assignment: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        override(valid(), [assignment])
    assert str(caught.value) == message


def test_each_reader_has_its_own_copy_of_a_text_that_was_read_before() -> None:
    text = "data: {kind: digits}\nviews: [1, 2]"
    first = parse_yaml(text, "a")
    first["views"].append(3)
    first["data"]["kind"] = "folder"
    assert parse_yaml(text, "b") == {"data": {"kind": "digits"}, "views": [1, 2]}


def test_a_limit_counts_for_a_text_that_was_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "views: [1, 2, 3, 4, 5, 6]"
    assert parse_yaml(text, "a")
    monkeypatch.setenv("SSLKIT_MAX_SPEC_NODES", "5")
    with pytest.raises(SpecError, match="has more than 5 values"):
        parse_yaml(text, "b")


def test_a_spec_that_contains_itself_is_refused() -> None:
    data = parse_yaml("views: &v {global: *v}", "text")
    with pytest.raises(SpecError, match=r"^the spec contains itself, or"):
        override(data, [])
    with pytest.raises(SpecError, match=r"^views\.global"):
        parse(small(**data))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nseed: 1\nname: b\n", "f.yaml: line 3: key 'name' is given twice; keep one"),
        ("views:\n  a: {size: 1}\n  a: {size: 2}\n", "f.yaml: line 3: key 'a' is given twice; keep one"),
        ("", "f.yaml: is empty; a spec is a mapping of fields"),
        ("# nothing\n", "f.yaml: is empty; a spec is a mapping of fields"),
        ("- name: a\n", "f.yaml: a spec is a mapping of fields, found list"),
        ("hello", "f.yaml: a spec is a mapping of fields, found str"),
        ("a: [1, 2\nb: 3", "f.yaml: line 2: not valid YAML: expected ',' or ']', but got ':'"),
        ("a: !!bool maybe", "f.yaml: not valid YAML: KeyError: 'maybe'"),
        ("a: !!python/object:os.system x", "f.yaml: line 1: not valid YAML: could not "
         "determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("\tname: a", "f.yaml: line 1: not valid YAML: found character '\\t' that cannot start any token"),
    ],
)  # fmt: skip
def test_broken_yaml(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "f.yaml")
    assert str(caught.value) == message


@settings(max_examples=200)
@given(st.text(st.sampled_from(list("abk:{}[]&*<!?|>-#'\", \n\t01.e~\x00\ud800")), max_size=40))
def test_no_text_raises_anything_but_a_spec_error(text: str) -> None:
    try:
        assert isinstance(parse_yaml(text, "text"), dict)
    except SpecError as error:
        assert str(error).startswith("text:")  # noqa: PT017 - most texts are valid YAML of the wrong shape


def test_nesting_past_any_sense_is_an_error_too() -> None:
    with pytest.raises(
        SpecError, match=r"^deep: line 1: is nested deeper than 100 levels; write it flatter$"
    ):
        parse_yaml("a: " + "[" * 5000, "deep")


def test_merge_keys_work_and_may_be_overridden() -> None:
    data = parse_yaml("base: &b {size: 1, crops: 2}\nother: {<<: *b, size: 3}\nthird: {<<: *b}", "text")
    assert data["other"] == {"size": 3, "crops": 2}
    assert data["third"] == data["base"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing, binary = tmp_path / "missing.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError) as caught:
        load(missing)
    assert str(caught.value) == f"{missing}: cannot be read: No such file or directory. Check the path"
    with pytest.raises(
        SpecError, match=r"is damaged or no text: byte 0 is not UTF-8; a spec is YAML in UTF-8$"
    ):
        read_yaml(binary)
    with pytest.raises(SpecError, match="is a folder; expected a regular file"):
        read_yaml(tmp_path)


def test_load_reads_overrides_and_quotes_notes(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(dump(parse(valid())), encoding="utf-8")
    assert load(path) == parse(valid())
    assert load(path, ["seed=9"]).seed == 9
    with pytest.raises(SslkitError, match=r"\nx failed to load$"):
        load(path, ["data.kind=diggits"], notes="x failed to load")


def test_loading_a_spec_does_not_import_torch(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(dump(parse(valid())), encoding="utf-8")
    code = f"""
import sys, pathlib
from sslkit.specs.load import dump, load
spec = load(pathlib.Path({str(path)!r}))
dump(spec, full=True), hash(spec), spec.summary()
print(spec.name, *{{"torch", "numpy", "timm", "sklearn", "PIL", "faiss"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [parse(valid()).name]
