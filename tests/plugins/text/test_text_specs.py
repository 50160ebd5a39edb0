"""Specs of images and texts: what is refused before a run, by path, and what round-trips."""

from __future__ import annotations

import pytest
import yaml

from sslkit import Run, RunSpec
from sslkit.plugin import SpecError
from sslkit.specs.check import check, problems
from sslkit_text.plugin import sslkit_specs
from sslkit_text.specs.lengths import length_of
from sslkit_text.specs.words import BPE
from tests.conftest import ROOT
from tests.plugins.text.test_hybrid import data_of

EXAMPLE = ROOT / "examples" / "digits_clip.yaml"


def run_of(tmp_path, **changes):
    return RunSpec(**data_of(tmp_path, **changes))


def messages(run):
    return {problem.path: problem.message for problem in problems(run)}


def test_the_hybrid_has_no_problems(tmp_path):
    assert messages(run_of(tmp_path)) == {}


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"objective": {"kind": "clip", "text_view": "words"}}, "objective.text_view", "not a view"),
        ({"objective": {"kind": "clip", "text_net": "word"}}, "objective.text_net", "not a net"),
        ({"objective": {"kind": "clip", "text_view": "global"}}, "objective.text_view", "`view` itself"),
        ({"objective": {"kind": "siglip", "text_view": "global"}}, "objective.text_view", "`view` itself"),
        ({"objective": {"kind": "mlm", "view": "text", "net": "text"}}, "objective.view", "hides no words"),
    ],
)
def test_objectives_name_what_there_is(tmp_path, changes, path, message):
    run = run_of(tmp_path, objectives={}, balance={"kind": "fixed"}, **changes)
    assert message in messages(run)[path]


def test_a_network_of_images_does_not_read_texts(tmp_path):
    objectives = {"pairs": {"kind": "clip", "text_net": "student"}}
    run = Run(**data_of(tmp_path, objectives=objectives, balance={"kind": "fixed"}, towers={}))
    with pytest.raises(SpecError, match="text"):
        run.fit()


def test_heads_divide_the_width_of_a_tower(tmp_path):
    tower = {"kind": "text_transformer", "width": 16, "depth": 1, "heads": 3}
    assert "do not divide" in messages(run_of(tmp_path, towers={"text": tower}))["towers.text.heads"]


@pytest.mark.parametrize("kind", ["zero_shot", "image_text_retrieval", "modality_gap"])
def test_evaluators_need_pairs(tmp_path, kind):
    run = run_of(
        tmp_path,
        objectives={"pixels": {"kind": "mae", "decoder": {"depth": 1, "width": 16, "heads": 2}}},
        towers={},
        balance={"kind": "fixed"},
        evaluate=[{"kind": kind}],
    )
    assert "needs an objective of pairs (`clip`" in messages(run)["evaluate.0"]


def test_evaluators_name_an_objective_of_pairs(tmp_path):
    run = run_of(tmp_path, evaluate=[{"kind": "modality_gap", "objective": "pixels"}])
    assert "'pixels' is no" in messages(run)["evaluate.0.objective"]
    assert messages(run_of(tmp_path, evaluate=[{"kind": "modality_gap", "objective": "pairs"}])) == {}


def test_a_missing_tokenizer_is_told(tmp_path):
    view = {
        "stream": "caption",
        "size": 12,
        "transform": {"kind": "bpe", "file": str(tmp_path / "none.json")},
    }
    views = {**data_of(tmp_path)["views"], "text": view}
    assert "there is no file" in messages(run_of(tmp_path, views=views))["views.text.transform.file"]


def test_a_missing_table_is_told(tmp_path):
    data = {"kind": "caption_table", "images": {"kind": "digits"}, "table": str(tmp_path / "none.csv")}
    assert "there is no file" in messages(run_of(tmp_path, data=data))["data.table"]


def test_fields_without_effect_are_told(tmp_path):
    file = BPE(file=tmp_path / "tokenizer.json", vocabulary=300)
    assert {problem.path for problem in file.unused(None)} == {"vocabulary", "min_frequency", "lower_case"}
    assert {problem.path for problem in BPE().unused(None)} == {"start", "end", "pad", "mask"}


@pytest.mark.parametrize(("size", "length"), [(12, 12), ((12,), 12), ((2, 12), 12)])
def test_lengths_of_rows(size, length):
    assert length_of(size) == length


@pytest.mark.parametrize("size", [(3, 12), (2, 2, 12)])
def test_other_shapes_are_no_rows(size):
    with pytest.raises(SpecError, match="have a length"):
        length_of(size)


@pytest.mark.parametrize(
    "cls", [cls for cls in sslkit_specs() if cls.example() is not None], ids=lambda c: c.__name__
)
def test_examples_round_trip(cls):
    example = cls.example()
    again = cls.model_validate(yaml.safe_load(yaml.safe_dump(example.model_dump(mode="json"))))
    assert again == example
    assert example.kind_name() == again.kind_name()


def test_the_example_of_digits_says_every_word_once():
    data = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    names = data["data"]["names"]
    assert [*names] == [str(i) for i in range(10)]
    assert len(set(names.values())) == 10
    assert data["evaluate"][0]["names"] == names
    assert set(data["evaluate"][0]["templates"]) <= set(data["data"]["templates"])


@pytest.mark.parametrize(("length", "told"), [(1, True), (2, True), (3, False)])
def test_a_row_has_room_for_a_word(tmp_path, length, told):
    views = data_of(tmp_path)["views"]
    short = {**views, "text": {**views["text"], "size": length}}
    message = messages(run_of(tmp_path, views=short)).get("views.text.transform", "")
    assert ("no room for a word" in message) == told


def test_a_masked_row_has_room_for_a_word(tmp_path):
    masked = {"stream": "caption", "size": [2, 1], "transform": {"kind": "masked_bpe"}}
    views = {**data_of(tmp_path)["views"], "masked_text": masked}
    message = messages(run_of(tmp_path, views=views))["views.masked_text.transform"]
    assert "`views.masked_text.size`, which is 1; at least 3" in message


def test_a_view_of_text_without_a_tokenizer_is_told_of_some(tmp_path):
    views = data_of(tmp_path)["views"]
    raw = {**views, "text": {"stream": "caption", "size": 12}}
    message = messages(run_of(tmp_path, views=raw))["towers.text"]
    assert "a `transform` that makes tokens: bpe, masked_bpe" in message


def test_a_tokenizer_of_images_is_told_the_stream_of_texts(tmp_path):
    views = data_of(tmp_path)["views"]
    other = {**views, "text": {"size": 12, "transform": {"kind": "bpe"}}}
    assert "set `stream: caption`" in messages(run_of(tmp_path, views=other))["views.text.transform"]


def test_a_missing_tower_is_told_of_towers(tmp_path):
    message = messages(run_of(tmp_path, towers={}))["objectives.pairs.text_net"]
    assert "`towers: {text: ...}`, trained beside `backbone`" in message


@pytest.mark.parametrize("kind", ["image_text_retrieval", "modality_gap"])
def test_evaluators_of_captions_need_captions(tmp_path, kind):
    run = run_of(tmp_path, data={"kind": "digits"}, evaluate=[{"kind": kind}])
    assert "'digits' gives images only" in messages(run)["evaluate.0"]


def test_an_evaluator_of_captions_reads_those_of_its_objective(tmp_path):
    """Where an objective is named, its view of texts counts and not that of the first one."""
    named = {"kind": "modality_gap", "objective": "pairs"}
    assert messages(run_of(tmp_path, evaluate=[named])) == {}
    plain = messages(run_of(tmp_path, data={"kind": "digits"}, evaluate=[named]))
    assert "reads 'caption' of a sample" in plain["evaluate.0"]
    assert "'caption' is not a stream of 'digits'" in plain["views.text.stream"]


def test_zero_shot_reads_no_captions(tmp_path):
    run = run_of(tmp_path, data={"kind": "digits"}, evaluate=[{"kind": "zero_shot"}])
    assert [*messages(run)] == ["views.text.stream"]


def test_streams_of_views_that_are_not_read_may_be_missing(tmp_path):
    """Other images than those of the run have no captions, and their embeddings need none."""
    run = run_of(tmp_path, data={"kind": "digits"})
    with pytest.raises(SpecError, match=r"views\.text\.stream: 'caption' is not a stream"):
        check(run)
    with pytest.raises(SpecError, match=r"views\.text\.stream: 'caption' is not a stream"):
        check(run, unread=("global",))
    check(run, unread=("text",))
    assert run.views["text"].stream_in(run.data) not in run.data.streams
